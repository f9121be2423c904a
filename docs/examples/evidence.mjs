// SPDX-License-Identifier: EUPL-1.2
// Asks the connector for an evidence, with nothing but Node's own library:
//
//     EINMAL_URL=http://127.0.0.1:8700 EINMAL_TOKEN=... node evidence.mjs < question.json
//
// It asks, uses what it got, then says so. Errors name the hop and what to do.
import { readFileSync } from "node:fs";

/**
 * One call of the connector.
 * @param {string} path
 * @param {object} body
 * @returns {Promise<any>} its answer
 */
async function call(path, body) {
  const answer = await fetch(process.env.EINMAL_URL + path, {
    method: "POST",
    headers: { authorization: `Bearer ${process.env.EINMAL_TOKEN}` },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  });
  const told = await answer.json();
  if (!answer.ok) {
    console.error(`${told.reason} at the ${told.hop}: ${told.advice}`);
    process.exit(1);
  }
  return told;
}

const evidence = await call("/v1/evidence", JSON.parse(readFileSync(0, "utf8")));
const report = await call(`/v1/evidence/${evidence.id}/use`, { use: "used" });
const { outcome, fields } = evidence;
console.log(JSON.stringify({ outcome, fields, logged_at: report.receipt.index }));

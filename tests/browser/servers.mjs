// SPDX-License-Identifier: EUPL-1.2
// A real OpenID provider (npm oidc-provider) over TLS, and the TLS proxy before the pages.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { Provider } from 'oidc-provider';

const tls = (plan) => ({ key: readFileSync(plan.key), cert: readFileSync(plan.certificate) });
const listen = (server, port) => new Promise((resolve) => {
  server.listen(port, '127.0.0.1', resolve);
});

export async function startProvider(plan, home) {
  const issuer = `https://127.0.0.1:${plan.providerPort}`;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'rs-1' };
  const claims = {
    sub: 'a-pseudonym', idnr: plan.person.idnr, birth_family_name: plan.person.birth_name,
    given_name: plan.person.given_names, birthdate: plan.person.birth_date,
    place_of_birth: { locality: plan.person.birth_place },
  };
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'einmal-cockpit', client_secret: plan.secret,
      redirect_uris: [`${home}/anmelden/zurueck`], post_logout_redirect_uris: [`${home}/`],
      response_types: ['code'], grant_types: ['authorization_code'],
    }],
    jwks: { keys: [jwk] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    acrValues: ['high', 'substantial'],
    claims: { openid: ['sub'], profile: Object.keys(claims).filter((name) => name !== 'sub') },
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: true } },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, id) => ({ accountId: id, claims: () => claims }),
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope('openid profile');
      await grant.save();
      return grant;
    },
  });
  const callback = provider.callback();
  const server = https.createServer(tls(plan), async (request, response) => {
    const [, uid, level] = request.url.match(/^\/interaction\/([^/]+)(?:\/(high|substantial))?$/) ?? [];
    if (!uid) return callback(request, response);
    if (request.method === 'POST' && level) {
      const login = { accountId: 'a-pseudonym', acr: level };
      return provider.interactionFinished(request, response, { login });
    }
    const button = (name) => `<form method="post" action="/interaction/${uid}/${name}">`
      + `<button>${name}</button></form>`;
    response.setHeader('content-type', 'text/html');
    return response.end(`<h1>Log in</h1>${button('high')}${button('substantial')}`);
  });
  await listen(server, plan.providerPort);
  return { issuer, server };
}

export async function startProxy(plan) {
  const [hostname, port] = plan.pages.split(':');
  const server = https.createServer(tls(plan), (request, response) => {
    const { method, url: path, headers } = request;
    const onward = http.request({ hostname, port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.writeHead(502).end());
    request.pipe(onward);
  });
  await listen(server, plan.proxyPort);
  return server;
}

// SPDX-License-Identifier: EUPL-1.2
// The cockpit in a real Chromium, with a real OpenID provider: node run.mjs plan.json
// Scripts are off in the citizen's browser: the pages must do without. Only axe-core gets one
// where they are on.
import { readFileSync, mkdirSync } from 'node:fs';
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { AxeBuilder } from '@axe-core/playwright';
import { startProvider, startProxy } from './servers.mjs';

const plan = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const home = `https://localhost:${plan.proxyPort}`;
const pictures = plan.pictures;
mkdirSync(pictures, { recursive: true });

const provider = await startProvider(plan, home);
const proxy = await startProxy(plan);
const browser = await chromium.launch({
  executablePath: plan.chromium,
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--font-render-hinting=none'],
});
const said = (step) => console.log(`${(performance.now() / 1000).toFixed(1)} s: ${step}`);

const secrets = Object.values(plan.person).filter((value) => value.length > 3);
const seen = new Set();
const foreign = [];
function watch(context) {
  context.on('request', (request) => {
    const url = decodeURIComponent(request.url());
    seen.add(url);
    for (const secret of secrets) assert(!url.includes(secret), `a URL names the person: ${url}`);
    const own = url.startsWith(home) || url.startsWith(provider.issuer) || url.startsWith('data:');
    // What the provider's own pages fetch is the provider's affair.
    const theirs = !request.isNavigationRequest() && request.frame().url().startsWith(provider.issuer);
    if (!own && !theirs) foreign.push(url);
  });
}

const settings = {
  ignoreHTTPSErrors: true, locale: 'de-DE', viewport: { width: 1100, height: 800 },
  acceptDownloads: true,
};
const context = await browser.newContext({ ...settings, javaScriptEnabled: false });
watch(context);
const page = await context.newPage();
page.setDefaultTimeout(10_000);
process.on('uncaughtException', async (error) => {
  console.error(error, `\nat ${page.url()}:\n${await page.locator('body').innerText()}`);
  process.exit(1);
});
const click = (name, role = 'link') => page.getByRole(role, { name, exact: true }).first().click();
const holds = async (text) => {
  const body = await page.locator('body').innerText();
  assert(body.includes(text), `"${text}" is missing at ${page.url()}:\n${body}`);
};

async function logIn(level) {
  await page.goto(`${home}/anmelden`);
  await click('Weiter zum Anmeldedienst');
  assert(page.url().startsWith(provider.issuer), page.url());
  await page.getByRole('button', { name: level }).click();
}

// ---- login
await page.goto(home);
await holds('Wer hat was über Sie abgefragt?');
await logIn('substantial');
await holds('Diese Anmeldung ist nicht sicher genug.');
await logIn('high');
await page.waitForURL(`${home}/uebersicht`);
await holds('In den letzten zwei Jahren');
const cookies = (await context.cookies(home)).filter((cookie) => cookie.name !== 'sprache');
assert.deepEqual(cookies.map((cookie) => cookie.name), ['__Host-einmal']);
assert(cookies[0].secure && cookies[0].httpOnly && cookies[0].sameSite === 'Strict');
said('logged in at a real provider, without JavaScript');

// ---- list, filter, detail, check
await click('Zugriffe auf meine Daten');
const all = await page.getByRole('link', { name: /^Einzelheiten/ }).count();
assert(all >= 12, `${all} records`);
await page.locator('summary', { hasText: 'Einträge auswählen' }).click();
const choice = await page.locator('#register option').nth(1).getAttribute('value');
await page.selectOption('#register', choice);
await click('Anzeigen', 'button');
assert(page.url().includes(`register=${choice}`));
const some = await page.getByRole('link', { name: /^Einzelheiten/ }).count();
assert(some > 0 && some < all, `${some} of ${all}`);
await click('Auswahl aufheben');
await page.getByRole('link', { name: /^Einzelheiten/ }).first().click();
await holds('Geprüft: Dieser Eintrag steht unverändert im Protokoll.');
await holds('Fassung der Regeln');
const detail = page.url();
await click('Jetzt prüfen');
await holds('Der Prüfpunkt ist vom Betreiber des Protokolls unterschrieben.');
assert.equal(await page.locator('.proof.good').count(), 1);
said('listed, narrowed down, read, checked');

// ---- export, letter
await page.goto(detail);
const download = page.waitForEvent('download');
await click('Beweis als JSON-Datei herunterladen');
await (await download).saveAs(plan.exported);
await click('Selbst nachprüfen, ohne uns');
await holds('openssl pkeyutl -verify');
await page.goto(detail);
await click('Bei der Behörde nachfragen');
await holds('Art. 15 DSGVO');
const letter = page.waitForEvent('download');
await click('Als Text speichern');
assert((await (await letter).suggestedFilename()).endsWith('-fragen.txt'));
await page.goto(`${home}/zugriffe`);
const pdf = page.waitForEvent('download');
await click('Zum Ausdrucken (PDF)');
await (await pdf).saveAs(plan.pdf);
said('exported, wrote a letter');

// ---- every page, language, width, and colour scheme: axe finds nothing
const path = new URL(detail).pathname;
const own = ['/uebersicht', '/zugriffe', `/zugriffe?register=${choice}`, path, `${path}/pruefen`,
  `${path}/selbst-pruefen`, `${path}/brief/beschweren`, '/abdeckung', '/status', '/hilfe', '/none'];
const open = ['/', '/anmelden', '/abgemeldet', '/anmelden/zurueck'];
const cookie = await context.storageState();
async function inspect(paths, options, state, languages) {
  const context = await browser.newContext({ ...settings, ...options, storageState: state });
  watch(context);
  const page = await context.newPage();
  for (const language of languages) {
    for (const path of paths) {
      await page.goto(`${home}${path}${path.includes('?') ? '&' : '?'}lang=${language}`);
      for (const details of await page.locator('details').all()) {
        await details.evaluate((element) => { element.open = true; });
      }
      const { violations } = await new AxeBuilder({ page })
        .options({ resultTypes: ['violations'], preload: false }).analyze();
      const found = violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join('\n  ')}`);
      assert.deepEqual(found, [], `${path} in ${language}, ${JSON.stringify(options)}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth
        - document.documentElement.clientWidth);
      assert(wide <= 0, `${path} in ${language} is ${wide} px too wide at ${JSON.stringify(options)}`);
    }
  }
  await context.close();
}
const narrow = { viewport: { width: 320, height: 640 } };
const dark = { colorScheme: 'dark' };
await Promise.all([
  inspect(own, {}, cookie, ['de']).then(() => inspect(open, {}, undefined, ['de'])),
  inspect(own, narrow, cookie, ['leicht']).then(() => inspect(open, narrow, undefined, ['leicht'])),
  inspect(own, dark, cookie, ['en']).then(() => inspect(open, dark, undefined, ['en'])),
]);
said('axe-core: 0 violations, nothing too wide');

// ---- pictures, for people to look at
async function picture(name, path, options, state = cookie) {
  const context = await browser.newContext({ ...settings, ...options, storageState: state ?? undefined });
  const page = await context.newPage();
  await page.goto(`${home}${path}`);
  await page.screenshot({ path: `${pictures}/${name}.png`, fullPage: options.whole ?? true });
  await context.close();
}
if (plan.takePictures) {
  await picture('start', '/', {}, null);
  await picture('login', '/anmelden', {}, null);
  await picture('overview', '/uebersicht', {});
  await picture('overview-dark', '/uebersicht', { colorScheme: 'dark' });
  await picture('overview-320', '/uebersicht', narrow);
  await picture('list', `/zugriffe?register=${choice}`, {});
  await picture('detail', path, {});
  await picture('detail-320-leicht', `${path}?lang=leicht`, narrow);
  await picture('detail-dark', path, { colorScheme: 'dark' });
  await picture('check', `${path}/pruefen`, {});
  await picture('by-hand', `${path}/selbst-pruefen`, {});
  await picture('letter', `${path}/brief/beschweren`, {});
  await picture('coverage', '/abdeckung', {});
  await picture('help-en', '/hilfe?lang=en', {});
  await picture('readme-overview', '/uebersicht', { whole: false, viewport: { width: 900, height: 760 } });
  await picture('readme-check', `${path}/pruefen`, { whole: false, viewport: { width: 900, height: 760 } });
  said('pictures taken');
}

// ---- keyboard only
await page.goto(`${home}/zugriffe`);
await page.keyboard.press('Tab');
const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? '');
assert.equal(await focused(), 'Zum Inhalt springen');
await page.keyboard.press('Enter');
async function tabTo(text) {
  for (let steps = 0; steps < 60; steps += 1) {
    await page.keyboard.press('Tab');
    if ((await focused()).startsWith(text)) {
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(outline, 'none', `the focus on "${text}" is not to be seen`);
      return;
    }
  }
  assert.fail(`no Tab leads to "${text}" at ${page.url()}`);
}
await tabTo('Einzelheiten');
await page.keyboard.press('Enter');
await page.waitForURL(/zugriffe\/\d+$/);
await tabTo('Jetzt prüfen');
await page.keyboard.press('Enter');
await page.waitForURL(/pruefen$/);
await holds('Geprüft: Dieser Eintrag steht unverändert im Protokoll.');
said('by keyboard alone');

// ---- logout
await page.goto(`${home}/uebersicht`);
await click('Abmelden', 'button');
await page.waitForURL(`${home}/abgemeldet`);
await holds('Sie sind abgemeldet');
assert.equal((await context.cookies(home)).filter((c) => c.name.includes('einmal')).length, 0);
await page.goto(`${home}/zugriffe`);
assert(page.url().endsWith('/anmelden'), page.url());
await page.goto(`${home}/abgemeldet`);
await click('Auch beim Anmeldedienst abmelden');
assert(page.url().startsWith(`${provider.issuer}/session/end`), page.url());
said('logged out, here and there');

assert.deepEqual(foreign, [], 'third-party requests');
assert(seen.size > 20);
await browser.close();
provider.server.close();
proxy.close();
said('all good');
process.exit(0);

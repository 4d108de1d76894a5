import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { barriers, browse, enter, LOOKS, serve } from "./house.mjs";

const shots = process.env.CONSOLE_SHOTS;
let house, browser, views;
before(async () => {
  [house, browser] = await Promise.all([serve(), browse()]);
  if (shots) mkdirSync(shots, { recursive: true });
  const [agent, careful, place] = await Promise.all([house.agent("helper"), house.agent("careful", "always_ask"), house.environment()]);
  await house.api("POST", `/agents/${agent}`, { version: 1, system: "Be brief." });
  const session = await house.session(agent, place, "Fix the flaky test", `/think hm\n/say I **look** at \`it\`:\n/tool bash {"command":"echo ok; exit 1"}\n/tool write {"file_path":"a.rs","content":"fn a() {}\\n"}\n/then\n/say Done.`);
  const asks = await house.session(careful, place, "Clean up", '/tool bash {"command":"rm -rf old"}\n/then\n/say ok');
  const fails = await house.session(agent, place, "Fails", "/fail 400 99");
  await Promise.all([session, asks, fails].map(house.rest));
  await house.api("POST", "/budgets", { metric: "tokens", limit: 2000, period: "day" });
  await house.api("POST", "/gateway_keys", { name: "editor", models: ["claude-*"] });
  views = {
    sessions: "/", session: `/sessions/${session}`, events: `/sessions/${session}?panel=events`, asks: `/sessions/${asks}`, fails: `/sessions/${fails}`, compare: `/compare/${session}/${asks}`,
    approvals: "/approvals", agents: "/agents", agent: `/agents/${agent}`, environments: "/environments", executors: "/executors", workers: "/workers", usage: "/usage", budgets: "/budgets", keys: "/keys", welcome: "/welcome", nowhere: "/nowhere",
  };
});
after(async () => { await browser?.close(); await house?.stop(); });

for (const [name, options] of Object.entries(LOOKS)) {
  test(`every view can be used by everybody: ${name}`, async () => {
    const { rules, ...context } = options;
    const page = await browser.open(context);
    await page.goto(`${house.url}/login`);
    await page.getByRole("button", { name: "Log in" }).waitFor();
    if (shots) await page.screenshot({ path: `${shots}/login-${name}.png` });
    const found = (await barriers(page, rules)).map((one) => `login: ${one}`);
    await enter(page, house);
    for (const [view, path] of Object.entries(views)) {
      await page.goto(house.url + path);
      await page.locator("h1, h2").first().waitFor();
      await page.waitForTimeout(60);
      if (view === "usage") await page.locator("canvas").first().waitFor();
      if (shots) await page.screenshot({ path: `${shots}/${view}-${name}.png` });
      // At 360 pixels what matters is that all of it is there; the parts are the same.
      if (name !== "phone" || ["sessions", "session", "approvals", "usage"].includes(view)) found.push(...(await barriers(page, rules)).map((one) => `${view}: ${one}`));
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) found.push(`${view} is ${over} pixels too wide`);
    }
    if (name === "light") {
      for (const [keys, title] of [["?", "Keyboard"], ["n", "New session"]]) {
        await page.goto(house.url);
        await page.getByRole("heading", { name: "Sessions", exact: true }).waitFor();
        await page.keyboard.press(keys);
        await page.getByRole("dialog", { name: title }).waitFor();
        await page.waitForTimeout(100);
        if (shots) await page.screenshot({ path: `${shots}/dialog-${title.toLowerCase().replace(" ", "-")}-${name}.png` });
        found.push(...(await barriers(page, rules)).map((one) => `${title}: ${one}`));
      }
    }
    assert.deepEqual(found, []);
    assert.deepEqual(browser.wrong, []);
  });
}

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { barriers, browse, enter, everybody, LOOKS, serve } from "./house.mjs";

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
  const answered = await house.session(careful, place, "Looks around", '/tool bash {"command":"echo kept"}\n/then\n/say thanks');
  await Promise.all([session, asks, fails, answered].map(house.rest));
  const { data: waiting } = await house.api("GET", "/approvals");
  const asked = waiting.find((one) => one.session_id === answered);
  await house.api("POST", `/sessions/${answered}/events`, { events: [{ type: "user.tool_confirmation", tool_use_id: asked.tool_use.id, result: "allow" }] });
  await house.api("POST", "/budgets", { metric: "tokens", limit: 2000, period: "day" });
  await house.api("POST", "/gateway_keys", { name: "editor", models: ["claude-*"] });
  const one = (path, heading, looks = ["light", "dark"], more = async () => {}) => ({ path, looks, ready: async (page) => { await page.getByRole("heading", { name: heading, exact: true }).first().waitFor(); await more(page); } });
  const all = ["light", "dark", "phone"];
  const log = (page) => page.getByRole("log").first().waitFor();
  views = {
    sessions: one("/", "Sessions", all, (page) => page.getByRole("list", { name: "Sessions" }).waitFor()),
    session: one(`/sessions/${session}`, "Fix the flaky test", all, log),
    events: one(`/sessions/${session}?panel=events`, "Fix the flaky test", undefined, (page) => page.getByRole("list", { name: "Events" }).waitFor()),
    tools: one(`/sessions/${session}?panel=tools`, "Fix the flaky test", [], (page) => page.getByRole("row", { name: /^bash/ }).waitFor()),
    resources: one(`/sessions/${session}?panel=resources`, "Runs in"),
    threads: one(`/sessions/${session}?panel=threads`, "Fix the flaky test", undefined, (page) => page.getByRole("list", { name: "Threads" }).waitFor()),
    asks: one(`/sessions/${asks}`, "Clean up", undefined, log),
    fails: one(`/sessions/${fails}`, "Fails", undefined, log),
    compare: one(`/compare/${session}/${asks}`, "Fix the flaky test", undefined, log),
    approvals: one("/approvals", "Approvals", all, (page) => page.getByText("rm -rf old").waitFor()),
    answered: one("/approvals?show=answered", "Approvals", all, (page) => page.getByText("echo kept").waitFor()),
    agents: one("/agents", "Agents"),
    agent: one(`/agents/${agent}`, /helper$/),
    environments: one("/environments", "Environments"),
    executors: one("/executors", "Executors"),
    workers: one("/workers", "Workers"),
    usage: one("/usage", "Usage", all, (page) => page.locator("canvas").first().waitFor()),
    budgets: one("/budgets", "Budgets"),
    keys: one("/keys", "Gateway keys"),
    settings: one("/settings", "Settings", all, (page) => page.getByRole("heading", { name: "Models" }).waitFor()),
    welcome: one("/welcome", "First steps"),
    nowhere: one("/nowhere", "There is no such page"),
  };
});
after(async () => { await browser?.close(); await house?.stop(); });

test("every view can be used by everybody", async () => {
  assert.deepEqual(await everybody(browser, house, views), []);
  assert.deepEqual(browser.wrong, []);
});

test("so can the login, and what lies above a view", async () => {
  const found = [];
  for (const [look, { rules, ...context }] of Object.entries(LOOKS)) {
    const page = await browser.open(context);
    await page.goto(`${house.url}/login`);
    await page.getByRole("button", { name: "Log in" }).waitFor();
    if (shots) await page.screenshot({ path: `${shots}/login-${look}.png` });
    found.push(...(await barriers(page, rules)).map((one) => `login, ${look}: ${one}`));
    if (look !== "phone") {
      await enter(page, house);
      for (const [keys, title] of [["?", "Keyboard"], ["n", "New session"], ["Control+k", "Command palette"]]) {
        await page.getByRole("heading", { name: "Sessions", exact: true }).waitFor();
        await page.keyboard.press(keys);
        const dialog = page.getByRole("dialog", { name: title });
        await dialog.waitFor();
        await page.waitForTimeout(100);
        if (shots) await page.screenshot({ path: `${shots}/dialog-${title.toLowerCase().replace(" ", "-")}-${look}.png` });
        found.push(...(await barriers(page, rules)).map((one) => `${title}, ${look}: ${one}`));
        await page.keyboard.press("Escape");
        await dialog.waitFor({ state: "detached" });
      }
    }
    await page.context().close();
  }
  assert.deepEqual(found, []);
  assert.deepEqual(browser.wrong, []);
});

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, enter, serve } from "./house.mjs";

let house, browser;
before(async () => { [house, browser] = await Promise.all([serve(), browse()]); });
after(async () => { await browser?.close(); await house?.stop(); });

const CORPUS = [
  "<script>window.pwned=1</script>",
  "<img src=x onerror=window.pwned=1>",
  '"><svg onload=window.pwned=1>',
  "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
  "[click](javascript:window.pwned=1) ![x](http://evil.invalid/leak.png) [a](data:text/html,x)",
  "<a href='http://evil.invalid'><img src='http://evil.invalid/1.gif'></a> <style>*{background:url(http://evil.invalid/css)}</style>",
  "{{constructor.constructor('window.pwned=1')()}} ${window.pwned=1}",
];

test("whatever text a model or a tool returns stays text, and nobody is called", async () => {
  const hostile = CORPUS.join(" ");
  const agent = await house.api("POST", "/agents", { name: CORPUS[0], model: "rehearsal-1", system: hostile, description: CORPUS[1], tools: [{ type: "agent_toolset_20260401" }] });
  const place = await house.environment(CORPUS[2]);
  const command = JSON.stringify({ command: `cat <<'END'\n${hostile}\n\u001b]8;;javascript:window.pwned=1\u001b\\link\u001b]8;;\u001b\\\nEND` });
  const write = JSON.stringify({ file_path: "<img src=x onerror=window.pwned=1>.html", content: hostile });
  const script = [`/say ${hostile}`, `/tool bash ${command}`, `/tool write ${write}`, "/then", "/say end"].join("\n");
  const session = await house.session(agent.id, place, CORPUS[1], script);
  await house.rest(session);
  // A call that asks, one that was denied with words, and a failure of a model.
  const careful = (await house.api("POST", "/agents", { name: CORPUS[1], model: "rehearsal-1", tools: [{ type: "agent_toolset_20260401", default_config: { enabled: true, permission_policy: { type: "always_ask" } } }] })).id;
  const [asks, denied] = await Promise.all([0, 1].map(() => house.session(careful, place, CORPUS[3], `/tool bash ${command}\n/then\n/say end`)));
  await Promise.all([asks, denied].map(house.rest));
  const { data: waiting } = await house.api("GET", "/approvals");
  await house.api("POST", `/sessions/${denied}/events`, { events: [{ type: "user.tool_confirmation", tool_use_id: waiting.find((one) => one.session_id === denied).tool_use.id, result: "deny", deny_message: hostile }] });
  await house.api("POST", "/gateway_keys", { name: CORPUS[1] });
  const page = await browser.open();
  const called = [];
  page.on("request", (request) => { if (!request.url().startsWith(house.url) && !/^(data|blob):/.test(request.url())) called.push(request.url()); });
  await enter(page, house);
  await page.getByText(CORPUS[1]).first().waitFor();
  const panels = ["session", "events", "tools", "resources", "threads"].map((panel) => `/sessions/${session}?panel=${panel}`);
  for (const path of ["/", `/sessions/${session}`, ...panels, `/sessions/${denied}`, `/compare/${session}/${asks}`, "/approvals", "/approvals?show=answered", "/agents", `/agents/${agent.id}`, "/environments", "/usage?by=agent", "/usage?by=session", "/keys", "/settings"]) {
    await page.evaluate((path) => history.pushState(null, "", path), path);
    await page.waitForTimeout(250);
    await page.locator("main h1").first().waitFor();
    assert.equal(await page.evaluate(() => window.pwned), undefined, path);
    assert.equal(await page.locator("main a[href^='javascript'], main iframe, main img, main style, main script").count(), 0, path);
  }
  // By their names in the palette as well.
  await page.keyboard.press("Control+k");
  await page.getByRole("option", { name: CORPUS[1] }).first().waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  await page.goto(`${house.url}/sessions/${session}`);
  await page.getByRole("log").getByText("<script>window.pwned=1</script>").first().waitFor();
  assert.deepEqual(called, []);
  assert.deepEqual(browser.wrong, []);
});

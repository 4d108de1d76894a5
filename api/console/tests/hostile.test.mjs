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
  const page = await browser.open();
  const called = [];
  page.on("request", (request) => { if (!request.url().startsWith(house.url) && !/^(data|blob):/.test(request.url())) called.push(request.url()); });
  await enter(page, house);
  await page.getByText(CORPUS[1]).first().waitFor();
  for (const path of [`/sessions/${session}`, `/sessions/${session}?panel=events`, `/sessions/${session}?panel=tools`, "/agents", `/agents/${agent.id}`, "/environments", "/usage?by=agent"]) {
    await page.goto(house.url + path);
    await page.locator("main h1").first().waitFor();
    await page.waitForTimeout(250);
    assert.equal(await page.evaluate(() => window.pwned), undefined, path);
    assert.equal(await page.locator("main a[href^='javascript'], main iframe, main img, main style, main script").count(), 0, path);
  }
  await page.goto(`${house.url}/sessions/${session}`);
  await page.getByRole("log").getByText("<script>window.pwned=1</script>").first().waitFor();
  assert.deepEqual(called, []);
  assert.deepEqual(browser.wrong, []);
});

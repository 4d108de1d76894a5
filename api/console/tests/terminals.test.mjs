import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { enter } from "./house.mjs";
import { attached, furnish, says, screen, terminal, typing } from "./laptop.mjs";

let house, browser, laptop, session;
before(async () => { ({ house, browser, laptop, session } = await furnish()); });
after(async () => { await browser?.close(); await house?.stop(); });

test("a terminal is typed into, found again, copied from, and left by the keyboard", async () => {
  const page = await browser.open();
  await enter(page, house, "/executors");
  await page.getByRole("link", { name: "Terminal on laptop" }).click();
  await attached(page);
  await says(page, 'echo "hel""lo" $TERM; me=kept', "hello xterm-256color");
  await says(page, "printf '\\e[38;2;1;200;3mtrue\\e[0m \\e[31mred\\e[0m\\n'; echo col\"\"ours", "colours");

  let asked = 0;
  const size = async () => {
    asked += 1;
    const answer = new RegExp(`si${asked}ze (\\d+)x(\\d+) end`);
    await says(page, `echo si${asked}""ze $(stty size | tr ' ' x) end`, answer);
    return answer.exec(await screen(page).textContent()).slice(1).map(Number);
  };
  const wide = await size();
  await page.setViewportSize({ width: 900, height: 600 });
  await page.waitForTimeout(200);
  const narrow = await size();
  assert.ok(narrow[0] < wide[0] && narrow[1] < wide[1], `${wide} became ${narrow}`);

  // The keyboard is out with two keys, and in again with one.
  const focused = () => page.evaluate(() => document.activeElement?.textContent);
  await page.keyboard.press("Tab");
  assert.match(await page.evaluate(() => document.activeElement?.getAttribute("aria-label")), /Terminal main on laptop.*leaves it/);
  await page.keyboard.press("Control+]");
  assert.equal(await focused(), "Copy");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Paste");
  await page.keyboard.press("t");
  await page.evaluate(() => navigator.clipboard.writeText("echo pas\"\"ted"));
  await terminal(page).getByRole("button", { name: "Paste" }).click();
  await screen(page).getByText('echo pas""ted').first().waitFor();
  await typing(page);
  await page.keyboard.press("Enter");
  await screen(page).getByText("pasted").first().waitFor();
  await page.locator(".xterm-rows > div").filter({ hasText: /^pasted/ }).first().dblclick({ position: { x: 12, y: 8 }, force: true });
  await terminal(page).getByRole("button", { name: "Copy" }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "pasted");

  // Screen readers get its lines when somebody wants that.
  await terminal(page).getByRole("button", { name: /^main/ }).click();
  await page.getByRole("menuitem", { name: "Read it to screen readers" }).click();
  await terminal(page).getByRole("listitem").filter({ hasText: /^pasted/ }).first().waitFor();
  await terminal(page).getByRole("button", { name: /^main/ }).click();
  await page.getByRole("menuitem", { name: "Do not read it" }).click();

  // Whoever comes back finds the same shell and what it showed.
  await page.reload();
  await attached(page);
  await screen(page).getByText("pasted").first().waitFor();
  await says(page, "echo still $me", "still kept");
  await page.keyboard.type("exit 3\n");
  await terminal(page).getByText("The shell ended with 3.").waitFor();
  await terminal(page).getByRole("button", { name: "New shell" }).click();
  await attached(page);
  await says(page, 'echo "again" none$me', "again none");
  assert.deepEqual(browser.wrong, []);
});

test("a terminal outlives the server, and a lost line", async () => {
  const page = await browser.open();
  await enter(page, house, `/executors/${laptop.id}?terminal=lasting`);
  const here = page.getByRole("region", { name: "Terminal lasting on laptop" });
  const at = (words) => here.getByRole("status").getByText(words, { exact: true }).waitFor();
  await at("Attached");
  await says(page, 'x=kept; echo be""fore', "before");
  await house.kill();
  await at("Attaching again");
  await house.start();
  await at("Attached");
  await screen(page).getByText("before").first().waitFor();
  await says(page, "echo after $x", "after kept");
  await page.context().setOffline(true);
  const line = page.waitForEvent("websocket");
  await page.context().setOffline(false);
  await line;
  await at("Attached");
  await says(page, "echo online $x", "online kept");
  assert.equal(await screen(page).getByText("before", { exact: true }).count(), 1, "what was shown is shown once");
  assert.deepEqual(browser.wrong, []);
});

test("a program that prints without end is stopped at once", async () => {
  const page = await browser.open();
  await enter(page, house, `/executors/${laptop.id}?terminal=flood`);
  await page.getByRole("status").getByText("Attached", { exact: true }).waitFor();
  await page.keyboard.insertText("yes $(seq -s. 200)");
  await page.keyboard.press("Enter");
  await screen(page).getByText("198.199.200").first().waitFor();
  await page.waitForTimeout(1500);
  const begun = Date.now();
  await page.keyboard.press("Control+c");
  await says(page, "clear; echo stop\"\"ped", /^stopped/);
  console.log(`a flood was stopped after ${Date.now() - begun} ms`);
  const heap = await page.evaluate(() => performance.memory.usedJSHeapSize);
  assert.ok(heap < 150e6, `${heap} bytes`);
  assert.deepEqual(browser.wrong, []);
});

test("a machine says why it gives no terminal", async () => {
  const reader = await house.machine("reader", "--read-only");
  const page = await browser.open();
  await enter(page, house, `/executors/${reader.id}`);
  await terminal(page, "reader").getByText(/does not offer/).waitFor();
  await terminal(page, "reader").getByRole("button", { name: "Try again" }).waitFor();
  await page.goto(`${house.url}/executors/exec_00000000000000000000000000000001`);
  await page.getByRole("heading", { name: "This machine cannot be shown" }).waitFor();
});

test("what a program prints stays on its screen", async () => {
  const page = await browser.open();
  const called = [];
  page.on("request", (request) => { if (!request.url().startsWith(house.url) && !/^(data|blob):/.test(request.url())) called.push(request.url()); });
  await enter(page, house, `/executors/${laptop.id}?terminal=hostile`);
  await page.getByRole("status").getByText("Attached", { exact: true }).waitFor();
  const hostile = "\\e]0;<script>window.pwned=1</script>\\a\\e]8;;javascript:window.pwned=1\\e\\\\click\\e]8;;\\e\\\\ \\e]8;;http://evil.invalid/leak\\e\\\\there\\e]8;;\\e\\\\ <img src=http://evil.invalid/x onerror=window.pwned=1>\\e]52;c;ZXZpbA==\\a\\e[6n\\e[c";
  await says(page, `clear; printf '${hostile}\\n'; echo en""d`, "onerror=window.pwned=1>");
  await page.evaluate(() => navigator.clipboard.writeText("mine"));
  for (const link of ["click", "there"]) {
    // What is drawn is drawn anew all the time: a place stays.
    const found = await page.waitForFunction((link) => {
      const span = [...document.querySelectorAll(".xterm-rows span")].find((one) => one.textContent === link);
      const { x, y, width } = span?.getBoundingClientRect() ?? {};
      return width > 0 && { x, y };
    }, link);
    const box = await found.jsonValue();
    await page.mouse.move(box.x + 4, box.y + 4);
    await page.mouse.click(box.x + 8, box.y + 4);
  }
  await page.getByText("It leads to http://evil.invalid/leak").waitFor();
  // What asked was answered, as by every terminal, and nobody took the answer: it is given up.
  await page.keyboard.press("Control+c");
  await page.reload();
  await page.getByRole("status").getByText("Attached", { exact: true }).waitFor();
  await screen(page).getByText("onerror=window.pwned=1>").first().waitFor();
  // What the terminal answers while that is shown again is not typed.
  await says(page, "echo qui\"\"et", /^quiet/);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "mine");
  assert.equal(await page.locator("main a[href^='javascript'], main iframe, main img, main style, main script").count(), 0);
  assert.match(await page.title(), /^laptop/);
  assert.deepEqual(called, []);
  assert.deepEqual(browser.wrong, []);
});

test("a machine that is away is waited for", async () => {
  const away = await house.machine("away");
  const place = await house.api("POST", "/environments", { name: "away", config: { type: "local", executor_id: away.id } });
  const there = await house.session(await house.agent("traveller"), place.id, "Away", '/tool bash {"command":"true"}\n/then\n/say done');
  await house.rest(there);
  await away.stop();
  const page = await browser.open();
  await enter(page, house, `/sessions/${there}?view=changes`);
  await page.getByRole("heading", { name: "Its machine is not reached" }).waitFor();
  await page.getByRole("button", { name: "Look again" }).last().waitFor();
  await page.goto(`${house.url}/executors/${away.id}`);
  await terminal(page, "away").getByRole("status").getByText("Attaching again", { exact: true }).waitFor();
  await terminal(page, "away").getByText(/not connected/).waitFor();
  await page.getByText("Offline", { exact: true }).waitFor();
  assert.deepEqual(browser.wrong, []);
});

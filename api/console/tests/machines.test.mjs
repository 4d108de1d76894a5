import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { browse, enter, everybody, said, serve } from "./house.mjs";

let house, browser, laptop, session;
before(async () => {
  [house, browser] = await Promise.all([serve(), browse()]);
  laptop = await house.machine("laptop");
  const git = (...args) => execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", ...args], { cwd: laptop.work });
  git("init", "-q");
  writeFileSync(join(laptop.work, "kept.txt"), Array.from({ length: 40 }, (_, n) => `line ${n}\n`).join(""));
  git("add", "-A");
  git("commit", "-q", "-m", "first");
  const place = await house.api("POST", "/environments", { name: "on the laptop", config: { type: "local", executor_id: laptop.id } });
  session = await house.session(await house.agent("helper"), place.id, "On the laptop", '/tool bash {"command":"sed -i s/line.20/LINE/ kept.txt; echo \'<img src=x onerror=window.pwned=1>\' > new.html"}\n/then\n/say done');
  await house.rest(session);
});
after(async () => { await browser?.close(); await house?.stop(); });

const terminal = (page, name = "laptop") => page.getByRole("region", { name: `Terminal main on ${name}` });
const attached = (page, name) => terminal(page, name).getByRole("status").getByText("Attached", { exact: true }).waitFor();
const screen = (page) => page.locator(".xterm-rows");
const typing = (page) => page.waitForFunction(() => /^Terminal /.test(document.activeElement?.getAttribute("aria-label") ?? ""));
/** Types a command, quoted so that its echo does not look like its answer, and waits for that. */
async function says(page, command, answer) {
  // Keys go where the focus is, which the terminal takes a moment after it is there.
  await typing(page);
  await page.keyboard.insertText(command);
  await page.keyboard.press("Enter");
  await screen(page).getByText(answer).first().waitFor();
}

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

test("from a session one is on the machine it works on", async () => {
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Turn finished").waitFor();
  await page.keyboard.press("t");
  await attached(page);
  await says(page, "ls", "new.html");
  await terminal(page).getByRole("button", { name: "Close the terminal" }).click();
  await terminal(page).waitFor({ state: "detached" });
  // And from everywhere by its name.
  await page.keyboard.press("Control+k");
  await page.getByPlaceholder("Search sessions").fill("terminal laptop");
  await page.getByRole("option", { name: /^Terminal on laptop/ }).click();
  await page.getByRole("heading", { name: "laptop", exact: true }).waitFor();
  await attached(page);
  // A session without a machine says what it would need.
  const plain = await house.session(await house.agent("plain"), await house.environment("plain"), "Plain", "/say hi");
  await page.goto(`${house.url}/sessions/${plain}?terminal=last`);
  await page.getByRole("heading", { name: "No machine to type on" }).waitFor();
  // It is given one, and loses it again.
  await house.rest(plain);
  await page.getByRole("button", { name: "Attach laptop" }).click();
  await attached(page);
  // Of several one chooses.
  const other = await house.machine("other");
  await house.api("POST", `/sessions/${plain}/executors`, { executor_id: other.id });
  await page.getByLabel("Machine", { exact: true }).selectOption("other");
  await attached(page, "other");
  for (const machine of ["other", "laptop"]) await page.getByRole("complementary").getByRole("button", { name: `Detach ${machine}` }).click();
  await page.getByRole("heading", { name: "No machine to type on" }).waitFor();
  assert.deepEqual((await house.api("GET", `/sessions/${plain}`)).agent.executors ?? [], []);
});

test("what a session has changed is read side by side, and taken along as a patch", async () => {
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Turn finished").waitFor();
  await page.keyboard.press("v");
  const changes = page.getByRole("region", { name: "Changes", exact: true });
  await changes.getByText("2 files").waitFor();
  await changes.getByRole("region", { name: "Changes of kept.txt" }).getByText("LINE", { exact: true }).waitFor();
  await changes.getByRole("region", { name: "Changes of new.html" }).getByText("<img src=x onerror=window.pwned=1>").waitFor();
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  const [download] = await Promise.all([page.waitForEvent("download"), changes.getByRole("button", { name: "Save as patch" }).click()]);
  const patch = readFileSync(await download.path(), "utf8");
  assert.match(patch, /^diff --git a\/kept\.txt b\/kept\.txt$/m);
  assert.match(patch, /^\+LINE$/m);
  await changes.getByLabel("Changes since").selectOption("Staged");
  await changes.getByRole("heading", { name: "Nothing has changed" }).waitFor();
  await page.keyboard.press("v");
  await page.getByRole("log", { name: "Conversation" }).waitFor();
  // Where nothing has run there is nothing to see, and no failure.
  const fresh = await house.session(await house.agent("fresh"), await house.environment("fresh"), "Fresh");
  await page.goto(`${house.url}/sessions/${fresh}?view=changes`);
  await page.getByRole("heading", { name: "Nothing has run yet" }).waitFor();
  await house.api("POST", `/sessions/${fresh}/events`, { events: [said('/tool bash {"command":"true"}')] });
  await house.rest(fresh);
  await page.getByText("The session’s folder is not in a git repository").waitFor();
  assert.deepEqual(browser.wrong, []);
});

test("a file of a machine is read, and one is stored", async () => {
  const page = await browser.open();
  await enter(page, house, `/executors/${laptop.id}?panel=files`);
  await page.getByLabel("Open a file").fill("new.html");
  await page.keyboard.press("Enter");
  await page.getByLabel("Text of new.html").getByText("<img src=x onerror=window.pwned=1>").waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save" }).click()]);
  assert.equal(readFileSync(await download.path(), "utf8"), readFileSync(join(laptop.work, "new.html"), "utf8"));
  await page.getByLabel("Open a file").fill("../outside");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  await page.getByLabel("File to store").setInputFiles({ name: "brought.bin", mimeType: "application/octet-stream", buffer: Buffer.from([1, 0, 255]) });
  await page.getByLabel("Its path there").fill("made/brought.bin");
  await page.getByRole("button", { name: "Store", exact: true }).click();
  await page.getByText("Stored made/brought.bin").waitFor();
  assert.deepEqual([...readFileSync(join(laptop.work, "made/brought.bin"))], [1, 0, 255]);
  await page.getByLabel("Open a file").fill("made/brought.bin");
  await page.keyboard.press("Enter");
  await page.getByText("It is no text, or too long").waitFor();
  assert.deepEqual(browser.wrong, []);
});

test("machines can be used by everybody", async () => {
  const found = await everybody(browser, house, {
    machines: { path: "/executors", ready: (page) => page.getByRole("link", { name: "Terminal on laptop" }).waitFor(), looks: ["light"] },
    terminal: { path: `/executors/${laptop.id}`, ready: async (page) => { await attached(page); await says(page, "clear; ls -la --color=always; git --no-pager -c color.ui=always log --oneline; git --no-pager -c color.ui=always diff | head -20", "first"); }, looks: ["light", "dark", "phone"] },
    files: { path: `/executors/${laptop.id}?panel=files`, ready: async (page) => { await page.getByLabel("Open a file").fill("kept.txt"); await page.keyboard.press("Enter"); await page.getByText("line 3").first().waitFor(); }, looks: ["light"] },
    "session-terminal": { path: `/sessions/${session}?terminal=last`, ready: (page) => attached(page), looks: ["light"] },
    changes: { path: `/sessions/${session}?view=changes`, ready: (page) => page.getByRole("region", { name: "Changes of kept.txt" }).waitFor(), looks: ["light", "dark", "phone"] },
  });
  assert.deepEqual(found, []);
  assert.deepEqual(browser.wrong, []);
});

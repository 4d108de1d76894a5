import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, enter, everybody, serve } from "./house.mjs";

const HOSTILE = '<img src=x onerror=window.pwned=1> [click](javascript:window.pwned=1) <script>window.pwned=1</script>';

let house, browser, writer, archived;
before(async () => {
  [house, browser] = await Promise.all([serve(), browse()]);
  const place = await house.environment();
  const tools = [{ type: "agent_toolset_20260401" }, { type: "mail_toolset" }];
  await house.api("POST", "/agents", { name: "reviewer", description: "reads what others wrote", model: "rehearsal-1", tools, mail: { environment_id: place } });
  const agent = (await house.api("POST", "/agents", { name: "writer", model: "rehearsal-1", tools })).id;
  const call = (name, input) => `/tool ${name} ${JSON.stringify(input)}\n/then`;
  const script = [
    call("list_agents", {}),
    call("send_message", { to: "agent/reviewer", subject: "Please look", content: "/say It is **fine**." }),
    call("send_message", { to: "queue/builds", subject: HOSTILE, content: HOSTILE }),
    call("send_message", { to: "agent/nobody", content: "hello?" }),
    call("read_mail", {}),
    call("delegate_task", { to: "agent/reviewer", prompt: `/say checked ${HOSTILE}`, max_turns: 2 }),
    "/say sent",
  ].join("\n");
  writer = await house.session(agent, place, "Writes letters", script);
  archived = await house.session(agent, place, "Was archived");
  await house.rest(writer);
});
after(async () => { await browser?.close(); await house?.stop(); });

test("mail is read by thread, answered, taken back and delivered again", async () => {
  const page = await browser.open();
  await enter(page, house, "/");
  await page.keyboard.press("g");
  await page.keyboard.press("m");
  const boxes = page.getByRole("navigation", { name: "Mailboxes" });
  await boxes.getByRole("link", { name: /reviewer/ }).click();
  await page.getByRole("list", { name: "Threads" }).getByText("Please look").waitFor();
  // Beneath the newest, which is the task.
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  const thread = page.getByRole("region", { name: "Thread" });
  const letter = thread.getByRole("article", { name: "Message from Writes letters" });
  await letter.getByText("Delivered").waitFor();
  await letter.getByText("/say It is **fine**.").waitFor();
  await letter.getByRole("button", { name: "Answer" }).click();
  const answer = page.getByRole("dialog", { name: "Answer" });
  assert.equal(await answer.getByLabel("Subject").inputValue(), "Re: Please look");
  await answer.getByLabel("Message").fill("/say thank you");
  await answer.getByRole("button", { name: "Send" }).click();
  await thread.getByRole("article", { name: "Message from You" }).getByText("Delivered").waitFor();
  assert.equal(await thread.getByRole("article").count(), 2, "both directions are one thread");

  // To a queue that nobody reads: it waits, and can be taken back.
  await page.keyboard.press("Control+k");
  await page.getByPlaceholder("Search sessions").fill("write mail");
  await page.getByRole("option", { name: /^Write mail/ }).first().click();
  const write = page.getByRole("dialog", { name: "Write mail" });
  await write.getByLabel("To", { exact: true }).selectOption("A queue");
  await write.getByRole("combobox", { name: "Queue" }).fill("builds");
  await write.getByLabel("Subject").fill("Build it");
  await write.getByLabel("Message").fill("main, please");
  await page.keyboard.press("Control+Enter");
  const sent = thread.getByRole("article", { name: "Message from You" });
  await sent.getByText("Waits").waitFor();
  await sent.getByRole("button", { name: "Take back" }).click();
  await sent.getByText("Taken back").waitFor();

  // What nobody can get is a dead letter, says why, and can be sent again.
  await house.api("POST", `/mailboxes/session/${archived}/messages`, { subject: "Too late", content: "hurry", deliver_at: new Date(Date.now() + 500).toISOString() });
  await house.api("POST", `/sessions/${archived}/archive`);
  await page.goto(`${house.url}/mail?box=session/${archived}&state=dead`);
  await page.getByRole("list", { name: "Threads" }).getByText("Too late").click();
  const dead = thread.getByRole("article", { name: /^Message from/ });
  await dead.getByText("Dead letter").waitFor();
  await dead.getByText("the session is archived").waitFor();
  await dead.getByRole("button", { name: "Deliver again" }).click();
  await page.getByText("Queued again").waitFor();

  // A server that is away takes nothing from the screen.
  await house.kill();
  await page.getByText("The server is away").waitFor();
  assert.equal(await dead.count(), 1);
  await house.start();
  await page.getByText("The server is away").waitFor({ state: "detached" });
  await dead.getByText("the session is archived").waitFor();
  assert.deepEqual(browser.wrong, []);
});

test("what a model writes, reads and is sent are cards of their own, and text", async () => {
  const page = await browser.open();
  const called = [];
  page.on("request", (request) => { if (!request.url().startsWith(house.url) && !/^(data|blob):/.test(request.url())) called.push(request.url()); });
  await enter(page, house, `/sessions/${writer}`);
  const log = page.getByRole("log", { name: "Conversation" });
  await log.getByText("Turn finished").last().waitFor();
  await page.evaluate(() => { document.querySelector("[role=log]").scrollTop = 0; });
  await log.getByRole("button", { name: /^Looks who takes mail.*Done/ }).click();
  await log.getByText("reads what others wrote").waitFor();
  await log.getByRole("button", { name: /^Writes mail.*Done/ }).first().waitFor();
  await log.getByRole("button", { name: /^Writes mail.*Failed/ }).waitFor();
  await log.getByText(HOSTILE).first().waitFor();
  await log.getByRole("link", { name: "What became of it" }).first().click();
  await page.getByRole("region", { name: "Thread" }).getByRole("link", { name: "Its session" }).first().click();
  await log.getByText("Mail from").first().waitFor();
  await log.getByText("Please look").first().waitFor();
  for (const path of ["/mail?box=queue/builds", `/sessions/${writer}`]) {
    await page.goto(house.url + path);
    await page.getByText("onerror=window.pwned=1").first().waitFor();
    assert.equal(await page.evaluate(() => window.pwned), undefined, path);
    assert.equal(await page.locator("main a[href^='javascript'], main iframe, main img, main style, main script").count(), 0, path);
  }
  assert.deepEqual(called, []);
  assert.deepEqual(browser.wrong, []);
});

test("what was delegated is a card of its own, and each thread is one beside the conversation", async () => {
  const page = await browser.open();
  await enter(page, house, `/sessions/${writer}?panel=threads`);
  const threads = page.getByRole("list", { name: "Threads" });
  const task = threads.getByRole("listitem").filter({ hasText: "Task" });
  await threads.getByText("This conversation").waitFor();
  await threads.getByRole("listitem").filter({ hasText: "Please look" }).waitFor();
  await task.getByRole("link", { name: "Its session" }).waitFor();
  await task.getByRole("button").click();
  const log = page.getByRole("log", { name: "Conversation" });
  // Its newest message is what came of it.
  await log.locator("[aria-current=true]").getByText("checked").first().waitFor();
  await page.evaluate(() => { document.querySelector("[role=log]").scrollTop = 0; });
  await log.getByRole("button", { name: /^Delegates a task.*Done/ }).waitFor();
  await log.getByText("at most 2 turns").waitFor();
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.deepEqual(browser.wrong, []);
});

test("mail can be used by everybody", async () => {
  const { data: [letter] } = await house.api("GET", "/mailboxes/agent/reviewer/messages");
  const threads = (page) => page.getByRole("list", { name: "Threads" }).waitFor();
  const found = await everybody(browser, house, {
    mailboxes: { path: "/mail", ready: (page) => page.getByRole("navigation", { name: "Mailboxes" }).getByRole("link", { name: /reviewer/ }).waitFor(), looks: [] },
    mail: { path: "/mail?box=agent/reviewer", ready: threads, looks: [] },
    thread: { path: `/mail?box=agent/reviewer&message=${letter.id}`, ready: (page) => page.getByRole("article").first().waitFor(), looks: ["light", "dark", "phone"] },
    write: { path: "/mail?box=agent/reviewer", ready: async (page) => { await threads(page); await page.keyboard.press("w"); await page.getByRole("dialog").waitFor(); }, looks: ["light"] },
    "mail-cards": { path: `/sessions/${writer}`, ready: (page) => page.getByText("Turn finished").last().waitFor(), looks: ["light", "dark"] },
  });
  assert.deepEqual(found, []);
  assert.deepEqual(browser.wrong, []);
});

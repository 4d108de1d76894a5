import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { browse, enter, serve } from "./house.mjs";

let house, browser;
before(async () => { [house, browser] = await Promise.all([serve(), browse()]); });
after(async () => { await browser?.close(); await house?.stop(); });

test("the printed link logs in once, and its code does not stay in the address", async () => {
  const page = await browser.open();
  assert.match(house.link, /\/login#.{43}$/);
  await page.goto(house.link);
  await page.getByRole("heading", { name: "Sessions", exact: true }).waitFor();
  assert.equal(new URL(page.url()).hash, "");
  assert.equal(await page.evaluate(() => document.cookie), "", "no script reads the login");
  await page.reload();
  await page.getByRole("heading", { name: "Sessions", exact: true }).waitFor();
  const second = await browser.open();
  await second.goto(house.link);
  await second.getByText("opened before or is too old").waitFor();
});

test("a key logs in to where one wanted to go; logging out ends it", async () => {
  const page = await browser.open();
  await page.goto(`${house.url}/agents`);
  await page.getByLabel("Key").fill("pk_wrong");
  await page.keyboard.press("Enter");
  await page.getByText("not a key of this server").waitFor();
  await page.getByLabel("Key").fill(house.key);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Agents", exact: true }).waitFor();
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("button", { name: "Log in" }).waitFor();
  await page.goto(`${house.url}/`);
  await page.getByRole("button", { name: "Log in" }).waitFor();
});

test("a page of another origin cannot act in one's name", async () => {
  const page = await browser.open();
  await enter(page, house);
  const target = `${house.url}/console/v1/agents`;
  const body = JSON.stringify({ name: "planted", model: "rehearsal-1" });
  const elsewhere = createServer((_, answer) => {
    answer.setHeader("content-type", "text/html");
    answer.end(`<form method=post enctype=text/plain action="${target}"><input name='${body.slice(0, -1)},"x":"' value='"}'><button>Win</button></form>`);
  });
  await new Promise((done) => elsewhere.listen(0, "127.0.0.1", done));
  try {
    const trap = await page.context().newPage();
    await trap.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
    for (const type of ["text/plain", "application/json"]) {
      await trap.evaluate(([url, text, type]) => fetch(url, { method: "POST", credentials: "include", mode: type === "text/plain" ? "no-cors" : "cors", headers: { "content-type": type }, body: text }).catch(() => {}), [target, body, type]);
    }
    const posted = trap.waitForResponse((response) => response.url() === target && response.request().method() === "POST");
    await trap.getByRole("button", { name: "Win" }).click();
    assert.equal((await posted).status(), 403);
    assert.deepEqual((await house.api("GET", "/agents")).data, []);
  } finally {
    elsewhere.close();
  }
});

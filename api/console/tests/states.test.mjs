import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, enter, serve } from "./house.mjs";

/** Views with what they ask for, and what they say when there is nothing. Every third is looked at in one page: so none asks what another
    there needed before, and says that it loads. */
const VIEWS = {
  "/approvals": { asks: "approvals", empty: "Nothing waits for you" },
  "/approvals?show=answered": { asks: "approvals", empty: "Nothing was answered yet" },
  "/agents": { asks: "agents", empty: "No agents yet" },
  "/environments": { asks: "environments", empty: "No environments yet" },
  "/executors": { asks: "executors", empty: "No machine has dialled in" },
  "/mail": { asks: "mailboxes", empty: "No mail yet" },
  "/workers": { asks: "workers", shows: "ul[aria-label=Workers]" },
  "/usage": { asks: "usage", empty: "Nothing was used yet" },
  "/keys": { asks: "gateway_keys", empty: "No gateway keys" },
  "/budgets": { asks: "budgets", empty: "No budgets" },
  "/settings": { asks: "settings", shows: "section[aria-label='This server']" },
  "/": { empty: "No sessions yet" },
};

let house, browser, storageState;
before(async () => {
  [house, browser] = await Promise.all([serve(), browse()]);
  const page = await browser.open();
  await enter(page, house);
  storageState = await page.context().storageState();
  await page.context().close();
});
after(async () => { await browser?.close(); await house?.stop(); });

const health = (page, words) => page.getByRole("navigation", { name: "Main" }).getByRole("status").getByText(words, { exact: true }).waitFor();

/** As by a link: a page that is loaded anew takes longer than all there is to look at. */
const go = (page, path) => page.evaluate((path) => history.pushState(null, "", path), path);
const open = async () => {
  const page = await browser.open({ storageState });
  await page.goto(`${house.url}/nowhere`);
  await page.getByRole("heading", { name: "There is no such page" }).waitFor();
  return page;
};
const there = (page, { empty, shows }) => (empty ? page.getByRole("heading", { name: empty }) : page.locator(shows)).waitFor();

test("every view says that it loads, what failed, and what is not there yet", async () => {
  const views = Object.entries(VIEWS);
  const some = async (mine) => {
    const page = await open();
    for (const [path, { asks, ...found }] of mine) {
      let fail;
      const failing = new Promise((done) => { fail = done; });
      if (asks) {
        await page.route(new RegExp(`/console/(v1/)?${asks}(\\?|$)`), async (route) => {
          await failing;
          await route.fulfill({ status: 400, json: { type: "error", error: { type: "invalid_request_error", message: "not <b>today</b>" } } }).catch(() => {});
        });
        await go(page, path);
        await page.getByRole("status", { name: "Loading" }).first().waitFor().catch((error) => { throw new Error(`${path}: ${error.message}`); });
        fail();
        const problem = page.getByRole("alert").first();
        await problem.getByText("not <b>today</b>").waitFor();
        await page.unrouteAll({ behavior: "ignoreErrors" });
        await problem.getByRole("button", { name: "Try again" }).click();
        await problem.waitFor({ state: "detached" });
      } else {
        await go(page, path);
      }
      await there(page, found);
    }
  };
  await Promise.all([0, 1, 2].map((page) => some(views.filter((_, at) => at % 3 === page))));
  assert.deepEqual(browser.wrong, []);
});

test("what does not exist is said, with a way back", async () => {
  const page = await browser.open({ storageState });
  const none = "0".repeat(32);
  for (const path of [`/sessions/sesn_${none}`, `/agents/agent_${none}`, `/executors/exec_${none}`, `/compare/sesn_${none}/sesn_${none}`]) {
    await page.goto(house.url + path);
    await page.getByRole("alert").first().waitFor();
  }
  assert.deepEqual(browser.wrong, []);
});

test("a server that is away takes no view from the screen", async () => {
  const page = await open();
  for (const [path, found] of Object.entries(VIEWS)) {
    await go(page, path);
    await there(page, found);
  }
  await health(page, "Live");
  await house.kill();
  await page.getByText("The server is away").waitFor();
  await health(page, "Reconnecting");
  for (const [path, found] of Object.entries(VIEWS)) {
    await go(page, path);
    await there(page, found);
    assert.equal(await page.getByRole("alert").count(), 0, `a restart is no error: ${path}`);
  }
  await house.start();
  await page.getByText("The server is away").waitFor({ state: "detached" });
  await health(page, "Live");
  assert.equal(await page.getByRole("alert").count(), 0);
  assert.deepEqual(browser.wrong, []);
});

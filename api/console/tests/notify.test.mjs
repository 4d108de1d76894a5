import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, enter, serve } from "./house.mjs";

let house, browser, careful, place;
before(async () => {
  [house, browser] = await Promise.all([serve(), browse()]);
  [careful, place] = await Promise.all([house.agent("careful", "always_ask"), house.environment()]);
});
after(async () => { await browser?.close(); await house?.stop(); });

const asks = (title) => house.session(careful, place, title, '/tool bash {"command":"true"}\n/then\n/say ok');
/** Somebody looks elsewhere, or here again. */
const look = (page, away) => page.evaluate((away) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => away });
  document.dispatchEvent(new Event("visibilitychange"));
}, away);
const shown = (page) => page.evaluate(() => window.told.map((one) => [one.title, one.body]));

/** A page whose notifications are kept. */
const listener = async () => {
  const page = await browser.open();
  await page.context().grantPermissions(["notifications"]);
  await page.addInitScript(() => {
    // The real ones are made, and kept to be looked at.
    const Real = window.Notification;
    window.told = [];
    window.Notification = class extends Real {
      constructor(...given) {
        super(...given);
        window.told.push(this);
      }
    };
  });
  await enter(page, house);
  return page;
};

test("who is away and asked for it is told what waits, once, and is led there", async () => {
  const page = await listener();
  const bell = page.getByRole("button", { name: /^Notifications/ });
  await look(page, true);
  await house.rest(await asks("Before it was asked for"));
  await page.getByRole("link", { name: "Approvals 1 waiting" }).waitFor();
  assert.deepEqual(await shown(page), []);

  await bell.click();
  await page.getByRole("button", { name: "Notifications: on" }).waitFor();
  await look(page, false);
  await house.rest(await asks("While one looks"));
  await page.getByRole("link", { name: "Approvals 2 waiting" }).waitFor();
  assert.deepEqual(await shown(page), []);

  await look(page, true);
  const session = await asks("Clean up");
  await house.rest(session);
  await page.getByRole("link", { name: "Approvals 3 waiting" }).waitFor();
  const fails = await house.session(careful, place, "Fails", "/fail 400 99");
  await house.rest(fails);
  await page.getByRole("link", { name: /Fails/ }).getByText("Failed").first().waitFor();
  assert.deepEqual(await shown(page), [["Clean up: needs you", "Waits for an answer to 1 call"], ["Fails: failed", "Turn 1 failed"]]);
  assert.equal(await page.evaluate(() => Notification.permission), "granted");
  await Promise.all([page.waitForURL(`**/sessions/${session}`), page.evaluate(() => window.told[0].dispatchEvent(new Event("click")))]);

  // What was chosen is still so after a reload, and is taken back by the same button.
  await page.getByRole("button", { name: "Notifications: on" }).click();
  await page.getByRole("button", { name: "Notifications: off" }).waitFor();
  assert.deepEqual(browser.wrong, []);
});

test("what began while the line was down is told of as well, and nothing else", async () => {
  const page = await listener();
  await page.getByRole("button", { name: "Notifications: off" }).click();
  await page.getByRole("button", { name: "Notifications: on" }).waitFor();
  await page.getByRole("link", { name: "Approvals 3 waiting" }).waitFor();
  await look(page, true);
  await house.kill();
  await page.getByText("The server is away").waitFor();
  await house.start();
  // The page dials again a moment later: the first it hears of this one is that it waits.
  await house.rest(await asks("Meanwhile"));
  await page.getByRole("link", { name: "Approvals 4 waiting" }).waitFor();
  assert.deepEqual(await shown(page), [["Meanwhile: needs you", "Waits for an answer to 1 call"]]);
  assert.deepEqual(browser.wrong, []);
});

test("a browser that does not allow it says so", async () => {
  const page = await browser.open();
  await enter(page, house);
  await page.getByRole("button", { name: "Notifications: off" }).click();
  await page.getByText("This browser lets the console show no notifications").waitFor();
  await page.getByRole("button", { name: "Notifications: off" }).waitFor();
});

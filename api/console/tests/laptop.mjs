// A house with a machine of its own: a laptop with a repository that a session has changed, and words for terminals on it.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { browse, serve } from "./house.mjs";

export async function furnish() {
  const [house, browser] = await Promise.all([serve(), browse()]);
  const laptop = await house.machine("laptop");
  const git = (...args) => execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", ...args], { cwd: laptop.work });
  git("init", "-q");
  writeFileSync(join(laptop.work, "kept.txt"), Array.from({ length: 40 }, (_, n) => `line ${n}\n`).join(""));
  git("add", "-A");
  git("commit", "-q", "-m", "first");
  const place = await house.api("POST", "/environments", { name: "on the laptop", config: { type: "local", executor_id: laptop.id } });
  const session = await house.session(await house.agent("helper"), place.id, "On the laptop", '/tool bash {"command":"sed -i s/line.20/LINE/ kept.txt; echo \'<img src=x onerror=window.pwned=1>\' > new.html"}\n/then\n/say done');
  await house.rest(session);
  return { house, browser, laptop, session };
}

export const terminal = (page, name = "laptop") => page.getByRole("region", { name: `Terminal main on ${name}` });
export const attached = (page, name) => terminal(page, name).getByRole("status").getByText("Attached", { exact: true }).waitFor();
export const screen = (page) => page.locator(".xterm-rows");
export const typing = (page) => page.waitForFunction(() => /^Terminal /.test(document.activeElement?.getAttribute("aria-label") ?? ""));
/** Types a command, quoted so that its echo does not look like its answer, and waits for that. */
export async function says(page, command, answer) {
  // Keys go where the focus is, which the terminal takes a moment after it is there.
  await typing(page);
  await page.keyboard.insertText(command);
  await page.keyboard.press("Enter");
  await screen(page).getByText(answer).first().waitFor();
}

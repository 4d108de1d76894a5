// Who is away hears of a session that waits for them or failed, if they asked for that.
import type { Session } from "../api/model";
import { read } from "../lib/store";
import { state, title } from "../lib/words";

/** Asks for what notifications need; false when the browser or its owner does not allow them. */
export async function mayAnnounce(): Promise<boolean> {
  return typeof Notification !== "undefined" && (await Notification.requestPermission()) === "granted";
}

/** `before` is missing where a session is new: the first that is heard of it may be that it waits. */
export function announce(session: Session, before: Session | undefined) {
  const now = state(session).key;
  if (read("notify", "off") !== "on" || !document.hidden || (before && state(before).key === now)) return;
  if (now !== "waiting" && now !== "failed") return;
  try {
    const shown = new Notification(`${title(session)}: ${state(session).label.toLowerCase()}`, { body: state(session).words, tag: session.id, icon: "/icon.svg" });
    shown.onclick = () => {
      window.focus();
      location.assign(`/sessions/${session.id}`);
    };
  } catch {
    // Phones show notifications of installed pages only. The badge of what waits is there all the same.
  }
}

// The machines a session works on.
import type { Session } from "../api/model";
import type { Environment, Executor } from "../api/schema";
import type { Item } from "../transcript/fold";

interface Attached {
  executor_id: string;
}

/**
 * Those that dialled in, the one it used last first. Folders of the server itself and sandboxes that are gone are none.
 */
export function machines(session: Session, place: Environment | undefined, known: Executor[], items: Item[]): Executor[] {
  const config = place?.config as { executor_id?: string; executors?: Attached[] } | undefined;
  const used = items.flatMap((item) => (item.kind === "tool" && item.executor ? [item.executor] : [])).reverse();
  const named = [config?.executor_id, ...(session.agent.executors ?? []).map((one) => one.executor_id), ...(config?.executors ?? []).map((one) => one.executor_id)];
  const ids = new Set([...used, ...named]);
  return [...ids].flatMap((id) => known.find((one) => one.id === id) ?? []);
}

// What one can do to a session.
import type { Block, Session } from "../api/model";
import { post, remove, ROOT } from "../lib/http";
import { tellError } from "../ui/messages";

export const send = (session: string, ...events: Record<string, unknown>[]) => post<{ data: unknown[] }>(`/sessions/${session}/events`, { events });
export const say = (content: Block[]) => ({ type: "user.message", content });
export const interrupt = { type: "user.interrupt" };
export const confirm = (id: string, allow: boolean, message?: string) => ({
  type: "user.tool_confirmation",
  tool_use_id: id,
  result: allow ? "allow" : "deny",
  ...(message ? { deny_message: message } : {}),
});
export const customResult = (id: string, text: string, isError: boolean) => ({
  type: "user.custom_tool_result",
  custom_tool_use_id: id,
  content: [{ type: "text", text }],
  is_error: isError,
});
export const retry = (session: string) => post<Session>(`/sessions/${session}/retry`);
/** The model may run tools there too, from its next turn on. */
export const attachMachine = (session: string, executor: string) => post<Session>(`/sessions/${session}/executors`, { executor_id: executor });
export const detachMachine = (session: string, executor: string) => remove<Session>(`/sessions/${session}/executors/${executor}`);
export const archive = (session: string) => post<Session>(`/sessions/${session}/archive`);

/** Does it, and shows what went wrong. */
export async function attempt<T>(what: Promise<T>): Promise<T | undefined> {
  try {
    return await what;
  } catch (error) {
    tellError(error);
    return undefined;
  }
}

/** The same request for a shell, with a key of one's own. */
export function curl(path: string): string {
  return `curl -s '${location.origin}/v1${path}' -H "x-api-key: $(cat ~/.local/share/perennial/key)"`;
}

export const exportUrl = (session: string) => `${ROOT}/sessions/${session}/export`;

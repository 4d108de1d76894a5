// Requests to the API behind the console's cookie. Answers are JSON; a refusal is a `Refused` with the server's own words.
import type { Error as ApiError } from "../api/schema";

export const ROOT = "/console/v1";

export class Refused extends Error {
  constructor(readonly status: number, message: string, readonly requestId?: string | null, readonly code?: string) {
    super(message);
    this.name = "Refused";
  }
}

/** The server could not be reached at all. */
export class Offline extends Error {
  constructor() {
    super("The server does not answer.");
    this.name = "Offline";
  }
}

let signedOut: () => void = () => {};
/** Told when the login is no longer good. */
export function onSignedOut(listener: () => void) {
  signedOut = listener;
}

export async function refusal(response: Response): Promise<Refused> {
  const body = (await response.json().catch(() => null)) as ApiError | null;
  if (response.status === 401) signedOut();
  const details = body?.error?.details as { error_code?: string } | null | undefined;
  return new Refused(response.status, body?.error?.message ?? `the server answered ${response.status}`, body?.request_id, details?.error_code);
}

/** `crypto.randomUUID` is there on secure connections only, and the page that says so has to work without one. */
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** A body is sent as JSON, and a blob as it is. */
export async function ask(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  const raw = body instanceof Blob;
  if (body !== undefined) headers["content-type"] = raw ? "application/octet-stream" : "application/json";
  if (method === "POST") headers["idempotency-key"] = random();
  let response: Response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? null : raw ? body : JSON.stringify(body), signal: signal ?? null });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Offline();
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function json<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await ask(method, ROOT + path, body, signal);
  return response.json() as Promise<T>;
}

export const get = <T>(path: string, signal?: AbortSignal) => json<T>("GET", path, undefined, signal);
export const post = <T>(path: string, body: unknown = {}) => json<T>("POST", path, body);
export const patch = <T>(path: string, body: unknown) => json<T>("PATCH", path, body);
export const remove = <T>(path: string) => json<T>("DELETE", path);

/** Every page of a list, up to a bound that no view should reach. */
export async function all<T>(path: string, signal?: AbortSignal): Promise<T[]> {
  const found: T[] = [];
  let page: string | null | undefined;
  for (let pages = 0; pages < 50; pages++) {
    const glue = path.includes("?") ? "&" : "?";
    const next: { data: T[]; next_page?: string | null } = await get(
      `${path}${glue}limit=100${page ? `&page=${encodeURIComponent(page)}` : ""}`,
      signal,
    );
    found.push(...next.data);
    page = next.next_page;
    if (!page) break;
  }
  return found;
}

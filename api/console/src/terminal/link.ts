// The line to one terminal: a ticket, a WebSocket, and both again whenever the line is lost. The shell lives on the machine and
// outlives it; whoever comes back is shown the end of what it showed.
import type { ExecutorTicket } from "../api/schema";
import { post, Refused } from "../lib/http";

export type LinkState =
  | { kind: "connecting" }
  | { kind: "open" }
  /** Tries again by itself. */
  | { kind: "lost"; words: string }
  /** Trying again would be answered the same. */
  | { kind: "refused"; words: string }
  | { kind: "exited"; code: number };

interface Options {
  executor: string;
  terminal: string;
  onState: (state: LinkState) => void;
  /** A shell is there: what it showed so far follows. */
  onAttach: () => void;
  onBytes: (bytes: Uint8Array) => void;
  onSkipped: (bytes: number) => void;
}

/** A refusal is a close with its status on top of this. */
const TURNED_AWAY = 4000;
const CONFLICT = 409;
const LONGEST_WAIT = 5_000;
/** What is pasted goes in pieces: a message of the machine's line is bounded. */
const PIECE = 16 * 1024;

export class Link {
  private socket: WebSocket | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private size = { columns: 80, rows: 24 };
  private tries = 0;
  private closed = false;
  /** Grows with each attempt, so that what an abandoned one still says is not heard. */
  private attempt = 0;
  private online = () => this.again();

  constructor(private readonly options: Options) {
    window.addEventListener("online", this.online);
  }

  /** Attaches anew, whatever was before. */
  again() {
    if (this.closed) return;
    this.drop();
    this.tries = 0;
    this.options.onState({ kind: "connecting" });
    void this.attach();
  }

  close() {
    this.closed = true;
    this.drop();
    window.removeEventListener("online", this.online);
  }

  send(bytes: Uint8Array<ArrayBuffer>) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    for (let at = 0; at < bytes.length; at += PIECE) this.socket.send(bytes.subarray(at, at + PIECE));
  }

  resize(columns: number, rows: number) {
    if (columns === this.size.columns && rows === this.size.rows) return;
    this.size = { columns, rows };
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "resize", ...this.size }));
  }

  private drop() {
    this.attempt += 1;
    clearTimeout(this.timer);
    this.socket?.close();
    this.socket = undefined;
  }

  private async attach() {
    const mine = this.attempt;
    const { executor, terminal } = this.options;
    let ticket: string;
    try {
      ticket = (await post<ExecutorTicket>(`/executors/${executor}/tickets`, { terminal })).ticket;
    } catch (error) {
      if (mine !== this.attempt) return;
      if (error instanceof Refused && error.status < 500 && error.status !== 429) this.options.onState({ kind: "refused", words: error.message });
      else this.later(error instanceof Error ? error.message : String(error));
      return;
    }
    if (mine !== this.attempt) return;
    // The ticket is good once and for seconds: an address is no place for anything better.
    const query = new URLSearchParams({ ticket, columns: String(this.size.columns), rows: String(this.size.rows) });
    const asked = this.size;
    let socket: WebSocket;
    try {
      socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/v1/executors/${executor}/terminals/${terminal}?${query}`);
    } catch {
      this.options.onState({ kind: "refused", words: "This browser opens no WebSocket here" });
      return;
    }
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    let attached = false;
    let ended = false;
    const begin = () => {
      if (attached) return;
      attached = true;
      this.tries = 0;
      this.options.onState({ kind: "open" });
      this.options.onAttach();
    };
    socket.onopen = () => {
      if (mine === this.attempt && this.size !== asked) socket.send(JSON.stringify({ type: "resize", ...this.size }));
    };
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (mine !== this.attempt) return;
      begin();
      if (typeof data !== "string") return this.options.onBytes(new Uint8Array(data));
      const word = JSON.parse(data) as { type: string; bytes?: number; code?: number };
      if (word.type === "skipped") this.options.onSkipped(word.bytes ?? 0);
      if (word.type === "exited") {
        ended = true;
        this.options.onState({ kind: "exited", code: word.code ?? 0 });
      }
    };
    socket.onclose = ({ code, reason }) => {
      if (mine !== this.attempt || ended) return;
      this.socket = undefined;
      if (code >= TURNED_AWAY && code !== TURNED_AWAY + CONFLICT) this.options.onState({ kind: "refused", words: reason });
      else this.later(reason || "The line is lost; the shell goes on");
    };
  }

  private later(words: string) {
    this.options.onState({ kind: "lost", words });
    const wait = Math.min(LONGEST_WAIT, 250 * 2 ** this.tries) * (0.75 + Math.random() / 2);
    this.tries += 1;
    this.timer = setTimeout(() => void this.attach(), wait);
  }
}

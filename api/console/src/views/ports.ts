// Which loopback ports of a machine somebody listens on, from what its own tools say.

export interface Port {
  port: number;
  /** The program, where the machine says it. */
  program?: string;
}

/** `ss` names programs; /proc is there on every Linux. */
export const COMMAND = "ss -Hltnp 2>/dev/null || cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || netstat -an -p tcp";

const LISTENS = "0A";

/** What a forward reaches: ports that are open to the machine itself. */
export function listening(text: string): Port[] {
  const found = new Map<number, Port>();
  const add = (port: number, program?: string) => {
    if (port > 0 && port < 65_536 && !found.get(port)?.program) found.set(port, program ? { port, program } : { port });
  };
  for (const line of text.split("\n")) {
    const kernel = /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) /.exec(line);
    if (kernel) {
      if (kernel[3] === LISTENS && local(kernel[1] ?? "")) add(Number.parseInt(kernel[2] ?? "", 16));
      continue;
    }
    const told = /^(?:LISTEN\b.*?|tcp\S*\s.*?)(127\.0\.0\.1|\[::1?\]|0\.0\.0\.0|\*|::1?)[:.](\d+)\s/.exec(line);
    if (told && /\bLISTEN\b/.test(line)) add(Number(told[2]), /\(\("([^"]+)"/.exec(line)?.[1]);
  }
  return [...found.values()].sort((a, b) => a.port - b.port);
}

/** Addresses as the kernel writes them: loopback, or any. */
const local = (address: string) => /^0+$/.test(address) || address === "0100007F" || address === "00000000000000000000000001000000";

// Terminal output as text with colours. Everything else a terminal would obey (cursor, titles, links, alternate screens) is
// left out, and what is left is text: nothing here can become markup.
import type { ReactNode } from "react";

interface Style {
  fg?: string;
  bold?: boolean;
  dim?: boolean;
  italic?: boolean;
  underline?: boolean;
}

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
// CSI, OSC (ended by BEL or ST), other two-byte escapes, and control characters but tab and line feed.
const ESCAPES = /\u001b\[([0-9;:?]*)([ -/]*[@-~])|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[@-Z\\-_a-z0-9()=><#][0-9A-Za-z]?|[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

function apply(style: Style, codes: string): Style {
  const numbers = codes === "" ? [0] : codes.split(/[;:]/).map(Number);
  let next = { ...style };
  for (let at = 0; at < numbers.length; at++) {
    const code = numbers[at] as number;
    if (code === 0) next = {};
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 22) next = { ...next, bold: false, dim: false };
    else if (code === 39) delete next.fg;
    else if (code >= 30 && code <= 37) next.fg = NAMES[code - 30] as string;
    else if (code >= 90 && code <= 97) next.fg = NAMES[code - 90] as string;
    else if (code === 38 || code === 48) {
      const skip = numbers[at + 1] === 5 ? 2 : 4;
      if (code === 38 && skip === 2) next.fg = NAMES[(numbers[at + 2] ?? 7) % 8] as string;
      at += skip;
    }
  }
  return next;
}

export interface Piece {
  text: string;
  style: Style;
}

export function pieces(output: string): Piece[] {
  const found: Piece[] = [];
  let style: Style = {};
  let from = 0;
  // A carriage return overwrites its line: of a progress bar only the last state is worth a line.
  const source = output.replace(/\r+\n/g, "\n").replace(/^.*\r(?=.)/gm, "");
  for (const match of source.matchAll(ESCAPES)) {
    if (match.index > from) found.push({ text: source.slice(from, match.index), style });
    if (match[2] === "m") style = apply(style, match[1] ?? "");
    from = match.index + match[0].length;
  }
  if (from < source.length) found.push({ text: source.slice(from), style });
  return found;
}

export function Ansi({ text }: { text: string }): ReactNode {
  return pieces(text).map(({ text, style }, at) => {
    const classes = [
      style.fg && `ansi-${style.fg}`,
      style.bold && "font-semibold",
      style.dim && "opacity-70",
      style.italic && "italic",
      style.underline && "underline",
    ].filter(Boolean);
    return classes.length === 0 ? text : <span key={at} className={classes.join(" ")}>{text}</span>;
  });
}

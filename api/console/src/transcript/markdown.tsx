// The part of Markdown that models write, as elements. Text stays text: there is no way from here to markup, images are shown as
// links that somebody has to follow, and links go to http(s) only (INVARIANTS S24).
import type { ReactNode } from "react";

const INLINE = /(`+)([\s\S]*?[^`])\1(?!`)|\*\*([\s\S]+?)\*\*|__([\s\S]+?)__|(?<![\w*])\*([^\s*][^*]*?)\*(?!\w)|(?<![\w_])_([^\s_][^_]*?)_(?!\w)|!?\[([^\]\n]*)\]\(([^)\s]+)(?:\s+"[^"]*")?\)|(https?:\/\/[^\s<>()"']+[^\s<>()"'.,;:!?])/g;

function inline(text: string, depth = 0): ReactNode[] {
  if (depth > 4) return [text];
  const out: ReactNode[] = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > from) out.push(text.slice(from, match.index));
    const [whole, , code, strong, strong2, em, em2, label, target, bare] = match;
    const key = match.index;
    if (code !== undefined) out.push(<code key={key}>{code}</code>);
    else if (strong ?? strong2) out.push(<strong key={key}>{inline((strong ?? strong2) as string, depth + 1)}</strong>);
    else if (em ?? em2) out.push(<em key={key}>{inline((em ?? em2) as string, depth + 1)}</em>);
    else if (target !== undefined) out.push(link(key, target, label || target, whole));
    else if (bare) out.push(link(key, bare, bare, whole));
    from = match.index + whole.length;
  }
  if (from < text.length) out.push(text.slice(from));
  return out;
}

function link(key: number, target: string, label: string, whole: string): ReactNode {
  if (!/^https?:\/\//i.test(target)) return whole;
  return (
    <a key={key} href={target} target="_blank" rel="noopener noreferrer nofollow" title={target}>
      {label}
    </a>
  );
}

const LIST = /^(\s*)([-*+]|\d{1,4}[.)])\s+(.*)$/;

function cells(line: string): string[] {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
}

export function Markdown({ text }: { text: string }): ReactNode {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const out: ReactNode[] = [];
  let at = 0;
  const peek = () => lines[at] ?? "";
  while (at < lines.length) {
    const line = peek();
    const key = at;
    const fence = /^\s*(```+|~~~+)\s*([\w+#.-]*)/.exec(line);
    if (fence) {
      const body: string[] = [];
      at += 1;
      while (at < lines.length && !peek().trim().startsWith(fence[1] as string)) body.push(lines[at++] as string);
      at += 1;
      out.push(
        <pre key={key} tabIndex={0} aria-label={fence[2] ? `Code, ${fence[2]}` : "Code"}>
          <code>{body.join("\n")}</code>
        </pre>,
      );
    } else if (/^#{1,6}\s/.test(line)) {
      out.push(<p key={key} className="md-heading">{inline(line.replace(/^#+\s+/, ""))}</p>);
      at += 1;
    } else if (/^\s*([-*_])\s*(\1\s*){2,}$/.test(line)) {
      out.push(<hr key={key} />);
      at += 1;
    } else if (line.startsWith(">")) {
      const body: string[] = [];
      while (peek().startsWith(">")) body.push((lines[at++] as string).replace(/^>\s?/, ""));
      out.push(<blockquote key={key}>{inline(body.join("\n"))}</blockquote>);
    } else if (LIST.test(line)) {
      const items: { depth: number; text: string }[] = [];
      const ordered = /^\s*\d/.test(line);
      const first = Number(/\d+/.exec(line)?.[0] ?? 1);
      while (at < lines.length && (LIST.test(peek()) || (/^\s{2,}\S/.test(peek()) && items.length > 0))) {
        const match = LIST.exec(peek());
        if (match) items.push({ depth: Math.min(3, Math.floor((match[1] ?? "").length / 2)), text: match[3] ?? "" });
        else (items.at(-1) as { text: string }).text += `\n${peek().trim()}`;
        at += 1;
      }
      const body = items.map((item, index) => (
        <li key={index} data-depth={item.depth}>{inline(item.text)}</li>
      ));
      out.push(ordered ? <ol key={key} start={first}>{body}</ol> : <ul key={key}>{body}</ul>);
    } else if (line.includes("|") && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(lines[at + 1] ?? "")) {
      const head = cells(line);
      at += 2;
      const rows: string[][] = [];
      while (peek().includes("|")) rows.push(cells(lines[at++] as string));
      out.push(
        <div key={key} className="md-table" tabIndex={0} role="region" aria-label="Table">
          <table>
            <thead><tr>{head.map((cell, i) => <th key={i}>{inline(cell)}</th>)}</tr></thead>
            <tbody>{rows.map((row, r) => <tr key={r}>{row.map((cell, i) => <td key={i}>{inline(cell)}</td>)}</tr>)}</tbody>
          </table>
        </div>,
      );
    } else if (line.trim() === "") {
      at += 1;
    } else {
      const body = [line];
      at += 1;
      while (at < lines.length && peek().trim() !== "" && !/^(\s*```|#{1,6}\s|>)/.test(peek()) && !LIST.test(peek())) body.push(lines[at++] as string);
      out.push(<p key={key}>{inline(body.join("\n"))}</p>);
    }
  }
  return <div className="md">{out}</div>;
}

// The small parts every view is made of.
import { type ButtonHTMLAttributes, type ReactNode, useId, useState } from "react";
import type { Tone } from "../lib/words";
import { Icon, type IconName } from "./Icon";

type Look = "primary" | "plain" | "quiet" | "danger";
const LOOKS: Record<Look, string> = {
  primary: "bg-accent text-on-accent hover:bg-accent-hover border-transparent",
  plain: "bg-surface text-text hover:bg-hover border-line",
  quiet: "bg-transparent text-soft hover:bg-hover hover:text-text border-transparent",
  danger: "bg-surface text-bad hover:bg-bad-soft border-line",
};

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: Look;
  icon?: IconName;
  busy?: boolean;
  small?: boolean;
  keys?: string;
}

export function Button({ look = "plain", icon, busy, small, keys, children, className = "", disabled, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      className={`inline-flex shrink-0 items-center justify-center gap-1.5 rounded-[7px] border font-medium whitespace-nowrap transition-colors disabled:opacity-55 ${small ? "h-7 px-2.5 text-xs" : "h-[34px] px-3 text-sm"} ${LOOKS[look]} ${className}`}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      {...rest}
    >
      {icon && <Icon name={icon} size={small ? 14 : 16} />}
      {children}
      {keys && <span className="contents max-sm:hidden"><Kbd inherit>{keys}</Kbd></span>}
    </button>
  );
}

/** A button that is only an icon: it has a name, and shows it. */
export function IconButton({ icon, label, keys, className = "", size = 16, ...rest }: { icon: IconName; label: string; keys?: string; size?: number } & ButtonHTMLAttributes<HTMLButtonElement>) {
  return (
    <button type="button" aria-label={label} title={keys ? `${label} (${keys})` : label} className={`inline-flex size-8 shrink-0 items-center justify-center rounded-[7px] text-soft transition-colors hover:bg-hover hover:text-text disabled:opacity-50 ${className}`} {...rest}>
      <Icon name={icon} size={size} />
    </button>
  );
}

export function Kbd({ children, inherit }: { children: ReactNode; inherit?: boolean }) {
  return (
    <kbd className={`rounded border px-1 font-mono text-[10.5px] leading-4 ${inherit ? "border-current/35 opacity-80" : "border-line bg-sunken text-soft"}`}>
      {children}
    </kbd>
  );
}

const TONES: Record<Tone, string> = {
  quiet: "text-faint",
  good: "text-good",
  busy: "text-busy",
  ask: "text-ask",
  bad: "text-bad",
};

/** A state, as a mark and a word: never by colour alone. */
export function Status({ tone, label, className = "" }: { tone: Tone; label: string; className?: string }) {
  return (
    <span className={`inline-flex items-center gap-1.5 text-sm font-medium whitespace-nowrap ${TONES[tone]} ${className}`}>
      <Mark tone={tone} />
      {label}
    </span>
  );
}

export function Mark({ tone }: { tone: Tone }) {
  return (
    <svg width="10" height="10" viewBox="0 0 10 10" aria-hidden="true" className={`shrink-0 ${tone === "busy" ? "pulse" : ""} ${TONES[tone]}`}>
      {tone === "bad" && <path d="M2 2l6 6M8 2 2 8" stroke="currentColor" strokeWidth="2" strokeLinecap="round" />}
      {tone === "ask" && <path d="M5 0.500 9.500 9H0.500Z" fill="currentColor" />}
      {tone === "busy" && <circle cx="5" cy="5" r="4" fill="currentColor" />}
      {tone === "good" && <path d="m1.500 5.300 2.300 2.200L8.500 2.500" fill="none" stroke="currentColor" strokeWidth="2" strokeLinecap="round" strokeLinejoin="round" />}
      {tone === "quiet" && <circle cx="5" cy="5" r="3.200" fill="none" stroke="currentColor" strokeWidth="1.500" />}
    </svg>
  );
}

export function Chip({ children, title, tone = "plain" }: { children: ReactNode; title?: string; tone?: "plain" | "accent" | "ask" | "bad" | "busy" }) {
  const tones = { plain: "bg-sunken text-soft border-line", accent: "bg-accent-soft text-accent border-transparent", ask: "bg-ask-soft text-ask border-transparent", bad: "bg-bad-soft text-bad border-transparent", busy: "bg-busy-soft text-busy border-transparent" };
  return (
    <span title={title} className={`inline-flex max-w-full items-center gap-1 truncate rounded-md border px-1.5 text-xs leading-5 ${tones[tone]}`}>
      {children}
    </span>
  );
}

export function Field({ label, hint, error, children }: { label: string; hint?: ReactNode; error?: string | undefined; children: (props: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => ReactNode }) {
  const id = useId();
  const told = hint || error ? `${id}-told` : undefined;
  return (
    <div>
      <label htmlFor={id} className="mb-1 block text-sm font-medium">{label}</label>
      {children({ id, ...(told ? { "aria-describedby": told } : {}), ...(error ? { "aria-invalid": true } : {}) })}
      {told && <p id={told} className={`mt-1 text-xs ${error ? "text-bad" : "text-faint"}`}>{error ?? hint}</p>}
    </div>
  );
}

export function Copy({ text, label = "Copy", name }: { text: string | (() => string); label?: string; name?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(typeof text === "string" ? text : text());
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return <Button small look="quiet" icon={done ? "check" : "copy"} onClick={copy} aria-label={done ? undefined : name}>{label && (done ? "Copied" : label)}{!label && done && <span className="sr-only">Copied</span>}</Button>;
}

export function Empty({ icon, title, children }: { icon: IconName; title: string; children?: ReactNode }) {
  return (
    <div className="mx-auto flex max-w-md flex-col items-center px-6 py-16 text-center">
      <span className="mb-4 flex size-11 items-center justify-center rounded-full bg-accent-soft text-accent"><Icon name={icon} size={20} /></span>
      <h2 className="text-lg font-semibold">{title}</h2>
      <div className="mt-1 text-soft">{children}</div>
    </div>
  );
}

export function Problem({ error, retry }: { error: unknown; retry?: () => void }) {
  const text = error instanceof Error ? error.message : String(error);
  return (
    <div role="alert" className="m-4 flex flex-wrap items-center gap-3 rounded-lg bg-bad-soft px-4 py-3 text-sm text-bad">
      <Icon name="warn" />
      <span className="min-w-0 flex-1 wrap-anywhere">{text}</span>
      {retry && <Button small onClick={retry} icon="retry">Try again</Button>}
    </div>
  );
}

export function Lines({ n = 6 }: { n?: number }) {
  return (
    <div className="space-y-4 p-5" role="status" aria-label="Loading">
      {Array.from({ length: n }, (_, at) => (
        <div key={at} className="skeleton h-4" style={{ width: `${88 - ((at * 37) % 45)}%` }} />
      ))}
    </div>
  );
}

export function Page({ title, aside, children, wide }: { title: ReactNode; aside?: ReactNode; children: ReactNode; wide?: boolean }) {
  return (
    <div className="flex h-full flex-col">
      <header className="flex min-h-14 shrink-0 flex-wrap items-center gap-x-3 gap-y-2 border-b border-line px-4 py-2 sm:px-6">
        <h1 className="min-w-0 flex-1 truncate text-lg font-semibold">{title}</h1>
        {aside}
      </header>
      <div className="min-h-0 flex-1 overflow-y-auto" tabIndex={-1}>
        <div className={`px-4 py-5 sm:px-6 ${wide ? "max-w-[1400px]" : "max-w-5xl"}`}>{children}</div>
      </div>
    </div>
  );
}

export function Card({ children, className = "" }: { children: ReactNode; className?: string }) {
  return <div className={`rounded-xl border border-line bg-surface ${className}`}>{children}</div>;
}

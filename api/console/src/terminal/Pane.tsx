// A terminal and what is around it: which one, how its line fares, and a way out for the keyboard.
import { lazy, type ReactNode, Suspense, useCallback, useRef, useState } from "react";
import { useShortcuts } from "../lib/keys";
import { useChoice } from "../lib/store";
import type { Tone } from "../lib/words";
import { Button, IconButton, Kbd, Status } from "../ui/basics";
import { tell } from "../ui/messages";
import { type Action, Menu } from "../ui/overlay";
import type { LinkState } from "./link";
import type { ScreenReach } from "./Screen";

const Screen = lazy(() => import("./Screen"));

/** What phones have no keys for. */
const TOUCH = [
  { label: "Esc", text: "\u001b" },
  { label: "Tab", text: "\t" },
  { label: "Ctrl C", text: "\u0003" },
  { label: "↑", text: "\u001b[A", name: "Up" },
  { label: "↓", text: "\u001b[B", name: "Down" },
];

const known = (executor: string) => (sessionStorage.getItem(`terminals ${executor}`) ?? "main").split(" ");

function words(state: LinkState): { tone: Tone; label: string } {
  switch (state.kind) {
    case "connecting":
      return { tone: "busy", label: "Attaching" };
    case "open":
      return { tone: "good", label: "Attached" };
    case "lost":
      return { tone: "ask", label: "Attaching again" };
    case "refused":
      return { tone: "bad", label: "Refused" };
    case "exited":
      return { tone: "quiet", label: `Ended with ${state.code}` };
  }
}

interface Props {
  executor: string;
  /** What its machine is called. */
  machine: string;
  terminal: string;
  choose: (terminal: string) => void;
  /** Beside the terminal's name. */
  aside?: ReactNode;
  onClose?: () => void;
}

export default function Pane({ executor, machine, terminal, choose, aside, onClose }: Props) {
  const screen = useRef<ScreenReach>(null);
  const after = useRef<HTMLDivElement>(null);
  const [state, setState] = useState<LinkState>({ kind: "connecting" });
  const [spoken, setSpoken] = useChoice("spoken", "off");
  const onState = useCallback((next: LinkState) => setState(next), []);
  const leave = () => after.current?.querySelector("button")?.focus();
  useShortcuts("Terminal", [
    { keys: "t", does: "Type into the terminal", run: () => screen.current?.focus() },
    { keys: "mod+]", does: "Leave the terminal", run: leave, anywhere: true },
    { keys: "mod+f6", does: "Leave the terminal", run: leave, anywhere: true },
  ]);

  function another() {
    const names = known(executor);
    let n = 2;
    while (names.includes(`shell-${n}`)) n += 1;
    sessionStorage.setItem(`terminals ${executor}`, [...names, `shell-${n}`].join(" "));
    choose(`shell-${n}`);
  }
  async function copy() {
    const text = screen.current?.selected() ?? "";
    if (!text) return tell("Nothing is selected in the terminal");
    await navigator.clipboard.writeText(text);
    tell("Copied");
  }
  async function paste() {
    const text = await navigator.clipboard.readText().catch(() => undefined);
    if (text === undefined) return tell("This browser gives no clipboard to pages: Ctrl Shift V pastes", true);
    screen.current?.paste(text);
    screen.current?.focus();
  }
  const names = [...new Set([...known(executor), terminal])];
  const { tone, label } = words(state);
  const over = state.kind === "lost" || state.kind === "refused" || state.kind === "exited";
  return (
    <section aria-label={`Terminal ${terminal} on ${machine}`} className="flex h-full min-h-0 flex-col bg-sunken">
      <div className="flex h-[39px] shrink-0 items-center gap-2 border-b border-line bg-surface pr-1 pl-3">
        <Menu
          trigger={<Button small look="quiet" icon="terminal" className="-ml-2 min-w-0 shrink!"><span className="truncate">{terminal}</span> <span className="truncate text-faint max-sm:hidden">on {machine}</span></Button>}
          actions={[
            ...names.map((name): Action => ({ label: name, icon: name === terminal ? "check" : "terminal", run: () => choose(name) })),
            { label: "Another terminal", icon: "plus", run: another },
            { label: spoken === "on" ? "Do not read it to screen readers" : "Read it to screen readers", icon: "bell", run: () => setSpoken(spoken === "on" ? "off" : "on") },
          ]}
        />
        {aside}
        <span className="flex-1" />
        <span role="status" className={onClose ? "" : "pr-2"}><Status tone={tone} label={label} className="text-xs!" /></span>
        {onClose && <IconButton icon="close" label="Close the terminal" size={14} className="size-7!" onClick={onClose} />}
      </div>
      <div className="relative min-h-0 flex-1 py-1.5 pl-3">
        <Suspense fallback={<p role="status" className="pulse p-2 font-mono text-xs text-faint">Loading the terminal…</p>}>
          <Screen key={`${executor} ${terminal}`} executor={executor} terminal={terminal} label={`Terminal ${terminal} on ${machine}`} spoken={spoken === "on"} onState={onState} reach={screen} />
        </Suspense>
        {over && (
          <div className="absolute inset-x-3 bottom-3 mx-auto flex w-fit max-w-[min(36rem,calc(100%-24px))] flex-wrap items-center gap-3 rounded-lg border border-line bg-raised py-2 pr-2 pl-4 text-sm shadow-pop">
            <span className={state.kind === "refused" ? "text-bad" : "text-soft"}>{state.kind === "exited" ? (state.code < 0 ? "Its machine ended the shell." : `The shell ended with ${state.code}.`) : state.words}</span>
            {state.kind === "lost" ? <span className="pulse pr-2 text-xs text-faint">Trying again…</span> : (
              <Button small icon={state.kind === "exited" ? "plus" : "retry"} onClick={() => { screen.current?.again(); screen.current?.focus(); }}>{state.kind === "exited" ? "New shell" : "Try again"}</Button>
            )}
          </div>
        )}
      </div>
      <div ref={after} className="flex min-h-8 shrink-0 flex-wrap items-center gap-0.5 border-t border-line bg-surface px-1">
        <Button small look="quiet" icon="copy" onClick={copy}>Copy</Button>
        <Button small look="quiet" onClick={paste}>Paste</Button>
        <span className="hidden items-center pointer-coarse:flex">
          {TOUCH.map((one) => <Button key={one.label} small look="quiet" aria-label={one.name} className="px-2! font-mono" onClick={() => { screen.current?.type(one.text); screen.current?.focus(); }}>{one.label}</Button>)}
        </span>
        <span className="ml-auto flex items-center gap-1 px-2 text-xs text-faint max-sm:hidden"><Kbd>Ctrl</Kbd><Kbd>]</Kbd> leaves it, the shell goes on</span>
      </div>
    </section>
  );
}

// One terminal as it is seen and typed into. Loaded when one is opened, with xterm.
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { type Ref, useEffect, useImperativeHandle, useRef } from "react";
import { bytes as sized } from "../lib/format";
import { tell } from "../ui/messages";
import { lawful } from "./lawful";
import { Link, type LinkState } from "./link";
import { isReply } from "./replies";
import { onTheme, theme } from "./theme";

export interface ScreenReach {
  focus(): void;
  /** Types into it, as a paste when it is one. */
  type(text: string): void;
  paste(text: string): void;
  /** What is selected. */
  selected(): string;
  again(): void;
}

interface Props {
  executor: string;
  terminal: string;
  label: string;
  /** Its text is read by screen readers. */
  spoken: boolean;
  onState: (state: LinkState) => void;
  reach: Ref<ScreenReach>;
}

/** Bytes that wait to be drawn; what comes beyond is left out and counted, as the machine does for whoever is slow. */
const WAITING = 4 << 20;
/** Below this width letters are smaller, so that lines still fit. */
const NARROW = 480;
/** Old output comes at once; so long after its last piece, what comes is new. */
const REPLAYED_MS = 250;

export default function Screen({ executor, terminal, label, spoken, onState, reach }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const shown = useRef<{ screen: Terminal; link: Link }>(undefined);
  useImperativeHandle(reach, () => ({
    focus: () => shown.current?.screen.focus(),
    type: (text) => shown.current?.screen.input(text),
    paste: (text) => shown.current?.screen.paste(text),
    selected: () => shown.current?.screen.getSelection() ?? "",
    again: () => shown.current?.link.again(),
  }), []);

  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const release = lawful();
    const screen = new Terminal({
      theme: theme(element),
      fontFamily: getComputedStyle(element).fontFamily,
      fontSize: element.clientWidth < NARROW ? 11.5 : 13,
      lineHeight: 1.2,
      scrollback: 5_000,
      minimumContrastRatio: 4.5,
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      macOptionIsMeta: true,
      // What an address says and where it leads are two things: it is shown, and never followed.
      linkHandler: { activate: (_, address) => tell(`It leads to ${address}`) },
    });
    const fit = new FitAddon();
    screen.loadAddon(fit);

    let replaying = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let waiting = 0;
    let skipped = 0;
    const note = (words: string) => screen.write(`\r\n\u001b[2m⋯ ${words}\u001b[0m\r\n`);
    const link = new Link({
      executor,
      terminal,
      onState,
      onAttach: () => {
        screen.reset();
        replaying = true;
      },
      onBytes: (bytes) => {
        if (replaying) {
          clearTimeout(timer);
          timer = setTimeout(() => { replaying = false; }, REPLAYED_MS);
        }
        if (waiting > WAITING) {
          skipped += bytes.length;
          return;
        }
        if (skipped > 0) note(`${sized(skipped)} came too fast to be shown`);
        skipped = 0;
        waiting += bytes.length;
        screen.write(bytes, () => { waiting -= bytes.length; });
      },
      onSkipped: (count) => note(`${sized(count)} came too fast to be shown`),
    });
    const encoder = new TextEncoder();
    screen.onData((data) => {
      if (replaying && isReply(data)) return;
      link.send(encoder.encode(data));
    });
    screen.onBinary((data) => link.send(Uint8Array.from(data, (one) => one.charCodeAt(0))));
    screen.onResize(({ cols, rows }) => link.resize(cols, rows));
    screen.attachCustomKeyEventHandler((event) => {
      if (event.type !== "keydown") return true;
      const control = event.ctrlKey && !event.altKey;
      // The keys that leave are the page's, and so are copying and pasting.
      if (control && (event.key === "]" || event.key === "F6")) return false;
      if (control && event.shiftKey && event.key.toLowerCase() === "v") return false;
      if (control && event.key.toLowerCase() === "c" && screen.hasSelection()) {
        event.preventDefault();
        void navigator.clipboard.writeText(screen.getSelection());
        screen.clearSelection();
        return false;
      }
      return true;
    });

    screen.open(element);
    fit.fit();
    link.resize(screen.cols, screen.rows);
    link.again();
    screen.focus();
    shown.current = { screen, link };

    const observer = new ResizeObserver(() => {
      if (element.clientWidth > 0 && element.clientHeight > 0) fit.fit();
    });
    observer.observe(element);
    const stop = onTheme(() => { screen.options.theme = theme(element); });
    return () => {
      shown.current = undefined;
      clearTimeout(timer);
      observer.disconnect();
      stop();
      link.close();
      screen.dispose();
      release();
    };
  }, [executor, terminal, onState]);

  useEffect(() => {
    const screen = shown.current?.screen;
    if (!screen) return;
    screen.options.screenReaderMode = spoken;
    screen.textarea?.setAttribute("aria-label", `${label}. Control right bracket leaves it.`);
  }, [spoken, label, executor, terminal]);

  return <div ref={frame} className="h-full min-h-0 overflow-hidden font-mono" />;
}

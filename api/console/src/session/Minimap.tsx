// The whole conversation at a glance: on three lanes who spoke, which tools ran and what went wrong, and beneath them one lane for
// each thread with somebody else. A click goes there.
import type { Virtualizer } from "@tanstack/react-virtual";
import { useDeferredValue, useEffect, useMemo, useRef } from "react";
import type { Item } from "../transcript/fold";
import { threads } from "../transcript/threads";

const LANES = ["You and agent", "Tools", "Notices"];
const LANE = 8;
/** The newest threads; all of them are in the inspector. */
const THREADS = 5;
const OFTEN = 100;

function look(item: Item): [lane: number, color: string] {
  switch (item.kind) {
    case "user":
    case "mail":
    case "operator":
      return [0, "--accent"];
    case "agent":
    case "thinking":
      return [0, "--line-strong"];
    case "tool":
      return [1, item.status === "failed" ? "--bad" : item.status === "asks" ? "--ask" : item.status === "running" ? "--busy" : "--line-strong"];
    case "notice":
      return [2, item.tone === "bad" ? "--bad" : item.tone === "warn" ? "--ask" : "--line-strong"];
    case "end":
      return [2, item.reason === "end_turn" ? "--line" : "--ask"];
  }
}

export function Minimap({ items, virtual, show }: { items: Item[]; virtual: Virtualizer<HTMLDivElement, Element>; show: (index: number) => void }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const calm = useDeferredValue(items);
  const lanes = useMemo(() => threads(calm).slice(0, THREADS), [calm]);
  const laneOf = useMemo(() => new Map(lanes.flatMap((thread, at) => thread.items.map((item) => [item, LANES.length + at] as const))), [lanes]);
  const HEIGHT = 6 + (LANES.length + lanes.length) * LANE;
  const range = virtual.range;
  const draw = useRef(() => {});
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  draw.current = () => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context || items.length === 0) return;
    const ratio = window.devicePixelRatio || 1;
    const width = element.clientWidth;
    if (element.width !== width * ratio || element.height !== HEIGHT * ratio) {
      element.width = width * ratio;
      element.height = HEIGHT * ratio;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, HEIGHT);
    const style = getComputedStyle(element);
    const colors = new Map<string, string>();
    const colorOf = (name: string) => {
      let color = colors.get(name);
      if (!color) {
        // A custom property is text; a colour property computes it for the theme.
        element.style.color = `var(${name})`;
        color = style.color;
        colors.set(name, color);
      }
      return color;
    };
    const step = Math.min(14, width / items.length);
    const from = range?.startIndex ?? 0;
    const to = range?.endIndex ?? 0;
    context.fillStyle = colorOf("--accent");
    context.globalAlpha = 0.14;
    context.fillRect(from * step, 0, Math.max(3, (to - from + 1) * step), HEIGHT);
    context.globalAlpha = 1;
    const drawn = new Set<string>();
    items.forEach((item, index) => {
      const [lane, color] = look(item);
      const x = Math.floor(index * step);
      const spot = `${x} ${lane}${color === "--line-strong" ? "" : color}`;
      if (drawn.has(spot)) return;
      drawn.add(spot);
      context.fillStyle = colorOf(color);
      context.fillRect(index * step, 4 + lane * LANE, Math.max(1.5, step - 1.5), 6);
    });
    context.fillStyle = colorOf("--busy");
    if (laneOf.size > 0) {
      items.forEach((item, index) => {
        const lane = laneOf.get(item.id);
        if (lane !== undefined) context.fillRect(index * step, 4 + lane * LANE, Math.max(1.5, step - 1.5), 6);
      });
    }
    element.style.color = "";
  };
  // All of it is drawn anew; while tokens stream in, a few times a second are enough.
  useEffect(() => {
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      draw.current();
    }, OFTEN);
  }, [items, lanes, range?.startIndex, range?.endIndex]);
  useEffect(() => () => clearTimeout(timer.current), []);
  function jump(event: React.MouseEvent<HTMLCanvasElement>) {
    const box = event.currentTarget.getBoundingClientRect();
    const step = Math.min(14, box.width / items.length);
    show(Math.max(0, Math.min(items.length - 1, Math.floor((event.clientX - box.left) / step))));
  }
  return (
    <div className="shrink-0 border-b border-line bg-surface px-3 py-1 sm:px-5">
      <canvas ref={canvas} onClick={jump} title={`${[...LANES, ...lanes.map((one) => `Thread with ${one.with}`)].join(", ")}: click to go there`} aria-hidden="true" className="block w-full cursor-pointer" style={{ height: HEIGHT }} />
    </div>
  );
}

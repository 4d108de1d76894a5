// The conversation: only what is on the screen is in the document. While its end is in sight it stays in sight.
import { useVirtualizer, type Virtualizer } from "@tanstack/react-virtual";
import { memo, useCallback, useEffect, useImperativeHandle, useLayoutEffect, useRef, useState, type Ref } from "react";
import { clock, full } from "../lib/format";
import type { Item } from "../transcript/fold";
import { Button, IconButton } from "../ui/basics";
import { tell } from "../ui/messages";
import { Menu } from "../ui/overlay";
import { End, Message, NoticeLine } from "./Message";
import { Minimap } from "./Minimap";
import { ToolCard } from "./ToolCard";

export interface Reach {
  /** Shows an item and says so. */
  show(index: number): void;
  end(): void;
}

interface Props {
  session: string;
  items: Item[];
  earlier?: boolean;
  more?: () => void;
  selected?: string | undefined;
  onSelect?: (item: Item) => void;
  onRaw?: (item: Item) => void;
  onFork?: (item: Item) => void;
  reach?: Ref<Reach>;
}

const SIZES: Record<Item["kind"], number> = { user: 90, agent: 90, thinking: 36, operator: 80, mail: 90, tool: 150, notice: 52, end: 36 };
const NEAR = 48;

export function Transcript({ session, items, earlier, more, selected, onSelect, onRaw, onFork, reach }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const pinned = useRef(true);
  const [away, setAway] = useState(false);
  const virtual = useVirtualizer({
    count: items.length,
    getScrollElement: () => scroller.current,
    estimateSize: (index) => SIZES[items[index]?.kind ?? "agent"],
    getItemKey: (index) => items[index]?.id ?? index,
    overscan: 6,
    paddingStart: 16,
    paddingEnd: 20,
    // Begins where it will be looked at: what is at the other end is not drawn first.
    initialOffset: () => items.reduce((sum, item) => sum + SIZES[item.kind], 0),
    initialRect: { width: 860, height: window.innerHeight },
  });
  const total = virtual.getTotalSize();

  // Sizes become known as items are drawn: the end moves, and we with it.
  useLayoutEffect(() => {
    const element = scroller.current;
    if (element && pinned.current) element.scrollTop = element.scrollHeight;
  }, [total, items]);

  // Whoever scrolled up and gets earlier events keeps what they look at.
  const first = useRef<string>(undefined);
  useLayoutEffect(() => {
    const before = first.current;
    first.current = items[0]?.id;
    if (!before || before === first.current || pinned.current) return;
    const index = items.findIndex((item) => item.id === before);
    if (index > 0) virtual.scrollToIndex(index, { align: "start" });
  }, [items, virtual]);

  const onScroll = useCallback(() => {
    const element = scroller.current;
    if (!element) return;
    const near = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR;
    pinned.current = near;
    setAway(!near);
  }, []);

  const end = useCallback(() => {
    pinned.current = true;
    setAway(false);
    const element = scroller.current;
    if (element) element.scrollTop = element.scrollHeight;
  }, []);
  const show = useCallback((index: number) => {
    pinned.current = false;
    virtual.scrollToIndex(index, { align: "center" });
  }, [virtual]);
  useImperativeHandle(reach, () => ({ show, end }), [show, end]);

  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const observer = new ResizeObserver(() => {
      if (pinned.current) element.scrollTop = element.scrollHeight;
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  return (
    <div className="relative flex min-h-0 flex-1 flex-col">
      <Minimap items={items} virtual={virtual as Virtualizer<HTMLDivElement, Element>} show={show} />
      <div ref={scroller} onScroll={onScroll} role="log" aria-label="Conversation" aria-live="off" tabIndex={0} className="min-h-0 flex-1 overflow-y-auto [overflow-anchor:none] focus-visible:-outline-offset-2">
        {earlier && more && <div className="flex justify-center pt-3"><Button small onClick={more}>Load earlier events</Button></div>}
        <div className="relative mx-auto w-full max-w-[860px]" style={{ height: total }}>
          {virtual.getVirtualItems().map((row) => {
            const item = items[row.index];
            return item && (
              <div key={row.key} data-index={row.index} ref={virtual.measureElement} className="absolute inset-x-0 top-0 px-3 pb-3 sm:px-5" style={{ transform: `translateY(${row.start}px)` }}>
                <Entry item={item} session={session} current={selected === item.id} onSelect={onSelect} onRaw={onRaw} onFork={onFork} />
              </div>
            );
          })}
        </div>
      </div>
      {away && (
        <Button small icon="down" onClick={end} className="absolute bottom-3 left-1/2 -translate-x-1/2 rounded-full! shadow-pop">Newest</Button>
      )}
    </div>
  );
}

interface EntryProps {
  item: Item;
  session: string;
  current: boolean;
  onSelect: ((item: Item) => void) | undefined;
  onRaw: ((item: Item) => void) | undefined;
  onFork: ((item: Item) => void) | undefined;
}

const Entry = memo(function Entry({ item, session, current, onSelect, onRaw, onFork }: EntryProps) {
  // Menus are heavy, and most are never opened: this one is there when its entry is pointed at or reached by key.
  const [reached, setReached] = useState<"pointer" | "keys">();
  const link = async () => {
    await navigator.clipboard.writeText(`${location.origin}/sessions/${session}?event=${item.id}`);
    tell("Link copied");
  };
  const stored = item.seq > 0;
  const more = <IconButton icon="more" label={`Actions for event ${item.seq}`} className="size-6!" size={14} autoFocus={reached === "keys"} onFocus={() => setReached((before) => before ?? "keys")} />;
  return (
    <article onPointerEnter={() => setReached((before) => before ?? "pointer")} data-event={item.id} aria-current={current || undefined} aria-label={`${item.kind}${stored ? `, event ${item.seq}` : ""}`} className={`group relative rounded-lg ${current ? "outline-2 outline-offset-4 outline-accent" : ""}`}>
      {item.kind === "tool" ? <ToolCard tool={item} session={session} /> : item.kind === "notice" ? <NoticeLine notice={item} /> : item.kind === "end" ? <End end={item} /> : <Message said={item} />}
      {stored && onSelect && (
        <div className="absolute top-1 -right-1 flex items-center rounded-md border border-line bg-raised px-1 opacity-0 shadow-pop group-focus-within:opacity-100 group-hover:opacity-100 has-[[data-popup-open]]:opacity-100 sm:-top-3.5 sm:right-2">
          <button type="button" onClick={() => onSelect(item)} className="tnum px-1.5 text-xs text-faint hover:text-text" title={full(item.at)}><span className="sr-only">Select event </span>#{item.seq} · {clock(item.at)}</button>
          {reached ? <Menu
            trigger={more}
            actions={[
              onRaw && { label: "Raw event", icon: "terminal" as const, run: () => onRaw(item) },
              { label: "Copy link", icon: "link" as const, run: () => void link() },
              onFork && { label: "Fork from here", icon: "fork" as const, run: () => onFork(item) },
            ]}
          /> : more}
        </div>
      )}
    </article>
  );
});

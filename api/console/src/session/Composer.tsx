// What one says to a session. While it runs, a message waits and is read with the next step; Stop ends the step at once.
import { type ClipboardEvent, type DragEvent, type Ref, useEffect, useImperativeHandle, useRef, useState } from "react";
import type { Block, Session } from "../api/model";
import { bytes } from "../lib/format";
import { Button, IconButton } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { tell } from "../ui/messages";
import { attempt, interrupt, say, send } from "./actions";

export interface ComposerReach {
  focus(): void;
}

interface Attachment {
  name: string;
  size: number;
  block: Block;
}

const IMAGES = /^image\/(png|jpeg|gif|webp)$/;
const LARGEST = 8 << 20;

async function attach(file: File): Promise<Attachment | undefined> {
  if (file.size > LARGEST) {
    tell(`${file.name} is larger than ${bytes(LARGEST)}`, true);
    return undefined;
  }
  if (IMAGES.test(file.type)) {
    const url = await new Promise<string>((done, failed) => {
      const reader = new FileReader();
      reader.onload = () => done(String(reader.result));
      reader.onerror = () => failed(reader.error);
      reader.readAsDataURL(file);
    });
    const data = url.slice(url.indexOf(",") + 1);
    return { name: file.name, size: file.size, block: { type: "image", source: { type: "base64", media_type: file.type, data } } };
  }
  const text = await file.text();
  if (text.includes("\u0000")) {
    tell(`${file.name} is neither a picture nor text`, true);
    return undefined;
  }
  return { name: file.name, size: file.size, block: { type: "text", text: `${file.name}:\n\`\`\`\n${text}\n\`\`\`` } };
}

export function Composer({ session, blocked, reach }: { session: Session; blocked: string | undefined; reach?: Ref<ComposerReach> }) {
  const draft = `draft ${session.id}`;
  const [text, setText] = useState(() => sessionStorage.getItem(draft) ?? "");
  const [files, setFiles] = useState<Attachment[]>([]);
  const [busy, setBusy] = useState(false);
  const area = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const running = session.status === "running" || session.status === "rescheduling";
  useImperativeHandle(reach, () => ({ focus: () => area.current?.focus() }), []);
  useEffect(() => {
    sessionStorage.setItem(draft, text);
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(240, element.scrollHeight + 2)}px`;
  }, [text, draft]);

  async function submit(first?: Record<string, unknown>) {
    const content: Block[] = [...files.map((file) => file.block), ...(text.trim() ? [{ type: "text", text }] : [])];
    if (content.length === 0 || busy || blocked) return;
    setBusy(true);
    if (await attempt(send(session.id, ...(first ? [first] : []), say(content)))) {
      setText("");
      setFiles([]);
    }
    setBusy(false);
    area.current?.focus();
  }
  async function add(list: Iterable<File>) {
    const found = await Promise.all([...list].map(attach));
    setFiles((before) => [...before, ...found.filter((one) => one !== undefined)]);
  }
  function onPaste(event: ClipboardEvent) {
    const images = [...event.clipboardData.files].filter((file) => IMAGES.test(file.type));
    if (images.length > 0) {
      event.preventDefault();
      void add(images);
    }
  }
  function onDrop(event: DragEvent) {
    event.preventDefault();
    void add(event.dataTransfer.files);
  }
  const stop = () => void attempt(send(session.id, interrupt));

  if (blocked) return <div className="border-t border-line bg-sunken px-5 py-3 text-center text-sm text-soft">{blocked}</div>;
  return (
    <div className="shrink-0 border-t border-line bg-surface px-3 py-2.5 sm:px-5" onDragOver={(event) => event.preventDefault()} onDrop={onDrop}>
      <div className="mx-auto max-w-[820px]">
        {files.length > 0 && (
          <ul className="mb-2 flex flex-wrap gap-1.5" aria-label="Attachments">
            {files.map((file, at) => (
              <li key={at} className="flex items-center gap-1 rounded-md border border-line bg-sunken pl-2 text-xs">
                <Icon name={file.block.type === "image" ? "image" : "file"} size={12} /> {file.name} <span className="text-faint">{bytes(file.size)}</span>
                <IconButton icon="close" label={`Remove ${file.name}`} size={12} className="size-6!" onClick={() => setFiles(files.filter((_, other) => other !== at))} />
              </li>
            ))}
          </ul>
        )}
        <div className="flex items-end gap-1 rounded-xl border border-strong bg-surface p-1 focus-within:outline-2 focus-within:outline-accent">
          <IconButton icon="plus" label="Attach a picture or a text file" onClick={() => picker.current?.click()} />
          <input ref={picker} type="file" multiple hidden onChange={(event) => { void add(event.target.files ?? []); event.target.value = ""; }} />
          <textarea
            ref={area} rows={1} value={text} aria-label="Message" placeholder={running ? "Steer: it reads this with its next step" : "Message"}
            className="min-h-8 min-w-0 flex-1 resize-none bg-transparent px-1 py-1 leading-6 outline-none placeholder:text-faint"
            onChange={(event) => setText(event.target.value)} onPaste={onPaste}
            onKeyDown={(event) => {
              if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
                event.preventDefault();
                void submit((event.ctrlKey || event.metaKey) && running ? interrupt : undefined);
              } else if (event.key === "Escape") {
                event.currentTarget.blur();
              }
            }}
          />
          {running && <Button small look="danger" icon="stop" onClick={stop} className="h-8!">Stop</Button>}
          <Button small look="primary" icon="send" busy={busy} disabled={!text.trim() && files.length === 0} onClick={() => submit()} className="h-8!">{running ? "Queue" : "Send"}</Button>
        </div>
        <p className="mt-1 hidden px-1 text-xs text-faint sm:block">Enter sends · Shift Enter breaks the line{running && " · Ctrl Enter interrupts and sends"}</p>
      </div>
    </div>
  );
}

// Files of a machine: one is fetched by its name, and one is stored. A small text is shown; everything else is saved as it comes.
import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";
import { bytes } from "../lib/format";
import { ask, ROOT } from "../lib/http";
import { Button, Card, Copy, Field, Problem } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { tell } from "../ui/messages";

/** A file up to this size is looked at before it is saved. */
const SHOWN = 512 * 1024;

interface Opened {
  path: string;
  size: number;
  /** None: it is no text, or a long one. */
  text?: string;
}

const address = (executor: string, path: string) => `${ROOT}/executors/${executor}/files?path=${encodeURIComponent(path)}`;

async function open(executor: string, path: string): Promise<Opened> {
  const control = new AbortController();
  const response = await ask("GET", address(executor, path), undefined, control.signal);
  const size = Number(response.headers.get("content-length") ?? Number.NaN);
  if (!(size <= SHOWN)) {
    control.abort();
    return { path, size };
  }
  const read = new Uint8Array(await response.arrayBuffer());
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(read);
    return text.includes("\u0000") ? { path, size } : { path, size, text };
  } catch {
    return { path, size };
  }
}

/** The browser saves it as it comes: no file has to fit into a page. */
function save(executor: string, path: string) {
  Object.assign(document.createElement("a"), { href: address(executor, path), download: path.split("/").at(-1) || "file" }).click();
}

export function Files({ executor, folder }: { executor: string; folder: string | undefined }) {
  const [path, setPath] = useState("");
  const fetched = useMutation({ mutationFn: (path: string) => open(executor, path) });
  function submit(event: FormEvent) {
    event.preventDefault();
    if (path.trim()) fetched.mutate(path.trim());
  }
  const file = fetched.data;
  return (
    <div className="h-full overflow-y-auto" tabIndex={-1}>
      <div className="max-w-5xl space-y-6 px-4 py-5 sm:px-6">
        <form onSubmit={submit}>
          <Field label="Open a file" hint={<>Beneath the folder the machine offers{folder && <>, <span className="font-mono">{folder}</span></>}: by its path there, or its whole path</>}>
            {(props) => (
              <div className="flex gap-2">
                <input {...props} className="field font-mono" placeholder="src/main.rs" autoFocus value={path} onChange={(event) => setPath(event.target.value)} />
                <Button look="primary" type="submit" busy={fetched.isPending} disabled={!path.trim()}>Open</Button>
              </div>
            )}
          </Field>
        </form>
        {fetched.error && <Problem error={fetched.error} />}
        {file && (
          <Card className="overflow-hidden">
            <div className="flex min-h-10 items-center gap-2 px-3">
              <Icon name="file" className="text-faint" />
              <h2 className="min-w-0 flex-1 truncate font-mono text-sm" title={file.path}>{file.path}</h2>
              <span className="tnum shrink-0 text-xs text-faint">{Number.isNaN(file.size) ? "" : bytes(file.size)}</span>
              {file.text !== undefined && <Copy text={file.text} name="Copy the text" />}
              <Button small look="quiet" icon="download" onClick={() => save(executor, file.path)}>Save</Button>
            </div>
            {file.text === undefined ? (
              <p className="border-t border-line px-4 py-6 text-center text-sm text-soft">It is no text, or too long to be shown here. Save it to look at it.</p>
            ) : (
              <pre tabIndex={0} aria-label={`Text of ${file.path}`} className="max-h-[60vh] overflow-auto border-t border-line bg-sunken px-3 py-2 font-mono text-[12.5px] leading-5 whitespace-pre-wrap wrap-anywhere focus-visible:-outline-offset-2">{file.text || <span className="text-faint">It is empty.</span>}</pre>
            )}
          </Card>
        )}
        <Store executor={executor} />
      </div>
    </div>
  );
}

function Store({ executor }: { executor: string }) {
  const picker = useRef<HTMLInputElement>(null);
  const [chosen, setChosen] = useState<File>();
  const [path, setPath] = useState("");
  const store = useMutation({
    mutationFn: async (file: File) => {
      const response = await ask("PUT", address(executor, path.trim()), file);
      return (await response.json()) as { path: string; bytes: number };
    },
    onSuccess: (stored) => {
      tell(`Stored ${stored.path}`);
      setChosen(undefined);
      setPath("");
    },
  });
  return (
    <form
      className="space-y-4 border-t border-line pt-5"
      onSubmit={(event) => {
        event.preventDefault();
        if (chosen && path.trim()) store.mutate(chosen);
      }}
    >
      <h2 className="font-semibold">Store a file there</h2>
      <input ref={picker} type="file" hidden aria-label="File to store" onChange={(event) => {
        const file = event.target.files?.[0];
        setChosen(file);
        if (file) setPath((before) => before || file.name);
        event.target.value = "";
      }} />
      <div className="flex flex-wrap items-center gap-3">
        <Button icon="upload" onClick={() => picker.current?.click()}>Choose a file</Button>
        <span className="min-w-0 truncate text-sm text-soft">{chosen ? `${chosen.name}, ${bytes(chosen.size)}` : "It takes the place of one that is there."}</span>
      </div>
      {chosen && (
        <Field label="Its path there" hint="Folders on the way are made">
          {(props) => (
            <div className="flex gap-2">
              <input {...props} className="field font-mono" value={path} onChange={(event) => setPath(event.target.value)} />
              <Button look="primary" type="submit" busy={store.isPending} disabled={!path.trim()}>Store</Button>
            </div>
          )}
        </Field>
      )}
      {store.error && <Problem error={store.error} />}
    </form>
  );
}

// In by the link that `up` prints, or by a key. The link's code is behind the `#`, and gone from the address before it is sent.
import { useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { type FormEvent, useEffect, useState } from "react";
import { ask, Refused } from "../lib/http";
import { login } from "../lib/queries";
import { Button, Field } from "../ui/basics";
import { Icon } from "../ui/Icon";

let code = location.pathname === "/login" ? location.hash.slice(1) : "";
if (code) history.replaceState(history.state, "", location.pathname + location.search);

export function Login() {
  const { to } = useSearch({ from: "/login" });
  const navigate = useNavigate();
  const client = useQueryClient();
  const [key, setKey] = useState("");
  const [busy, setBusy] = useState(Boolean(code));
  const [problem, setProblem] = useState<string>();

  async function enter(body: { code: string } | { key: string }) {
    setBusy(true);
    setProblem(undefined);
    try {
      await ask("POST", "/console/login", body);
      client.clear();
      await client.fetchQuery(login).catch((error: unknown) => {
        if (error instanceof Refused && error.status === 401) {
          throw new Error("The browser did not keep the login: it does so over https and on this machine's own address only.");
        }
        throw error;
      });
      await navigate({ href: to?.startsWith("/") && !to.startsWith("//") ? to : "/", replace: true });
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  }

  useEffect(() => {
    const once = code;
    code = "";
    if (once) void enter({ code: once });
  }, []);

  function submit(event: FormEvent) {
    event.preventDefault();
    if (key.trim()) void enter({ key: key.trim() });
  }

  return (
    <main className="flex h-full items-center justify-center overflow-y-auto p-4">
      <div className="w-full max-w-sm">
        <div className="mb-6 flex items-center gap-3">
          <span className="flex size-10 items-center justify-center rounded-xl bg-accent text-on-accent"><Icon name="leaf" size={22} /></span>
          <h1 className="text-xl font-semibold">Perennial</h1>
        </div>
        <form onSubmit={submit} className="space-y-4 rounded-xl border border-line bg-surface p-5">
          {/* Password managers want a name. */}
          <input type="text" name="username" value="perennial" autoComplete="username" readOnly hidden />
          <Field label="Key" error={problem} hint={<>The server prints where it is kept: <code className="font-mono">~/.local/share/perennial/key</code></>}>
            {(props) => <input {...props} className="field font-mono" type="password" autoComplete="current-password" autoFocus placeholder="pk_…" value={key} onChange={(event) => setKey(event.target.value)} />}
          </Field>
          <Button type="submit" look="primary" busy={busy} className="w-full">{busy ? "Logging in…" : "Log in"}</Button>
        </form>
        <p className="mt-4 text-sm text-faint">Or open the link that <code className="font-mono">perennial up</code> printed: it logs in once, within ten minutes.</p>
      </div>
    </main>
  );
}

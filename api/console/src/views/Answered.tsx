// Who allowed or denied what, and when, across all sessions.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import type { Approval } from "../api/model";
import { ago, full, tail } from "../lib/format";
import { get } from "../lib/http";
import { login } from "../lib/queries";
import { useNow } from "../lib/store";
import { ICONS, summary } from "../session/ToolCard";
import { Button, Card, Empty, Lines, Problem, Status } from "../ui/basics";
import { Icon } from "../ui/Icon";

interface Page {
  data: Approval[];
  next_page?: string | null;
}

const SESSIONS = 25;

export function Answered() {
  const { data: me } = useQuery(login);
  const now = useNow();
  const { data, error, refetch, hasNextPage, fetchNextPage, isFetchingNextPage } = useInfiniteQuery({
    queryKey: ["approvals", "answered"],
    queryFn: ({ pageParam, signal }) => get<Page>(`/approvals?answered=true&limit=${SESSIONS}${pageParam ? `&page=${encodeURIComponent(pageParam)}` : ""}`, signal),
    initialPageParam: "",
    getNextPageParam: (page: Page) => page.next_page,
  });
  const shown = useMemo(() => {
    // A fork has its source's answers as well: they were given once, in the older session.
    const once = new Map(data?.pages.flatMap((page) => page.data).map((one) => [one.tool_use.id, one]));
    return [...once.values()].sort((a, b) => ((a.answered?.at ?? "") < (b.answered?.at ?? "") ? 1 : -1));
  }, [data]);

  if (!data) return error ? <Problem error={error} retry={() => void refetch()} /> : <Lines />;
  if (shown.length === 0) return <Empty icon="approvals" title="Nothing was answered yet"><p>Who allowed or denied which call, and when, is kept here.</p></Empty>;
  return (
    <>
      <Card className="overflow-hidden">
        <ul aria-label="Answered calls" className="divide-y divide-line">
          {shown.map(({ tool_use: tool, answered, ...one }) => answered && (
            <li key={tool.id} className="grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-4 px-4 py-2.5 sm:grid-cols-[minmax(0,1fr)_88px_minmax(0,140px)_64px]">
              <span className="min-w-0">
                <span className="flex items-center gap-2.5"><Icon name={ICONS[tool.name] ?? "tool"} className="text-faint" /><span className="shrink-0 font-medium">{tool.name}</span><span className="min-w-0 truncate font-mono text-xs text-soft">{summary(tool)}</span></span>
                <span className="block truncate pl-[26px] text-xs text-faint">{one.agent_name} · <Link to="/sessions/$session" params={{ session: one.session_id }} search={{ event: tool.id }} className="text-accent underline underline-offset-2">{one.session_title ?? "Untitled session"}</Link>{answered.message && <> · “{answered.message}”</>}</span>
              </span>
              <Status tone={answered.result === "allow" ? "good" : "bad"} label={answered.result === "allow" ? "Allowed" : "Denied"} />
              <span className="min-w-0 truncate text-sm text-soft max-sm:pl-[26px] max-sm:text-xs" title={answered.by ?? undefined}>{answered.by === me?.key_id ? "by you" : answered.by ? <>by <span className="font-mono text-xs">{tail(answered.by)}</span></> : "by somebody"}</span>
              <time dateTime={answered.at} title={full(answered.at)} className="tnum text-right text-sm text-soft">{ago(answered.at, now)}</time>
            </li>
          ))}
        </ul>
      </Card>
      {hasNextPage && <p className="mt-4 text-center"><Button busy={isFetchingNextPage} onClick={() => void fetchNextPage()}>Show earlier ones</Button></p>}
    </>
  );
}

# An MCP server in as little as it takes: bash alone. Its one tool says what it was told, which life of it answers, as whom and where.
life=$RANDOM$RANDOM$RANDOM
while IFS= read -r line; do
  [[ $line =~ \"id\":([0-9]+) ]] || continue
  id=${BASH_REMATCH[1]}
  case $line in
    *'"method":"initialize"'*)
      r='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
    *'"method":"tools/list"'*)
      r='{"tools":[{"name":"where","description":"Says where it is.","inputSchema":{"type":"object"}}]}' ;;
    *) r='{"content":[{"type":"text","text":"'"$MODE $life $UID $PWD"'"}]}' ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$r"
done

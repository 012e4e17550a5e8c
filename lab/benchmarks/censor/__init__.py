"""`sidedoor bench censor`: what a censor on the path costs those whom it lets pass.

- `cli`: the command; `runner`: what is to be measured, and the namespaces that it is measured in;
- `inside`: the process in these namespaces: interleaved rounds;
- `network`: client, router and server; `subjects`: what runs on the router; `instance`: one censor that runs there;
- `measurements`: what is measured, one call each; `traffic`: the flows, and `flows.c`, which makes them;
- `races`, `race`: an injecting censor against a server that is far; `wan`: what delays;
- `lists`: a block list of real size;
- `results`, `table`: medians and ratios to plain routing, as JSON, for a terminal, as a page; `goals`: what is asked.
"""

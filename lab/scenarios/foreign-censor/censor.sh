#!/bin/sh
# A censor of a page of shell: two sets of addresses in the kernel, whose packets are dropped. block.sh fills them.
set -eu

nft -f - <<'RULES'
table inet foreign {
    set blocked4 { type ipv4_addr; }
    set blocked6 { type ipv6_addr; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ip daddr @blocked4 drop
        ip saddr @blocked4 drop
        ip6 daddr @blocked6 drop
        ip6 saddr @blocked6 drop
    }
}
RULES
echo "the sets stand"
trap 'nft delete table inet foreign; exit 0' TERM INT
while :; do
    sleep 60 &
    wait $!
done

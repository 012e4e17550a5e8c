#!/bin/sh
# add: block the messenger's addresses; delete: let them be.
set -eu
nft "$1" element inet foreign blocked4 '{ 203.0.113.10 }'
nft "$1" element inet foreign blocked6 '{ 2001:db8:2::10 }'
echo "$1: 203.0.113.10, 2001:db8:2::10"

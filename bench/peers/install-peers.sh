#!/usr/bin/env bash
# install-peers.sh - install the mail software (Debian packages) we measure
# ourselves against and talk to in test/interop. Nothing is started or configured: a
# temporary policy-rc.d keeps maintainer scripts from starting services, and
# postfix is preseeded as "No configuration".
#
# Usage: install-peers.sh            (as root, on Debian 12 or later)
#        install-peers.sh --check    (only say what is missing; exit 1 if any)
#
# Idempotent: exits at once when every package is installed.
set -euo pipefail

packages=(
  postfix                                   # with smtp-source and smtp-sink, the load generators
  dovecot-core dovecot-pop3d dovecot-lmtpd
  erlang-base                               # the actor benchmarks
  swaks libnet-ssleay-perl msmtp            # SMTP clients; the library is for swaks --tls
  mpop fetchmail getmail6 curl neomutt      # POP3 clients
  openssl
  pflogsumm                                 # reads our log as Postfix's
  unbound bind9-utils                       # a validating resolver and a signed zone, for DANE
)

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]; }

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done

# Exim and OpenSMTPD exclude Postfix: they are unpacked, not installed. Their tests are skipped without them.
unpack() { timeout 60 "$(dirname "${BASH_SOURCE[0]}")/unpacked-mta.sh" unpack || echo 'peers: no Exim and OpenSMTPD' >&2; }

if [ "${#missing[@]}" -eq 0 ]; then
  echo "peers: all ${#packages[@]} packages installed"
  [ "${1:-}" = --check ] || [ "$(id -u)" -ne 0 ] || unpack
  exit 0
fi
if [ "${1:-}" = --check ]; then
  echo "peers: missing: ${missing[*]}" >&2
  exit 1
fi
[ "$(id -u)" -eq 0 ] || { echo "install-peers: must be root" >&2; exit 1; }

# Keep maintainer scripts from starting anything; restore what was there.
policy=/usr/sbin/policy-rc.d
backup=
if [ -e "$policy" ]; then
  backup=$(mktemp)
  cp -p "$policy" "$backup"
fi
restore() {
  if [ -n "$backup" ]; then cp -p "$backup" "$policy"; rm -f "$backup"; else rm -f "$policy"; fi
}
trap restore EXIT
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections

apt_install() { apt-get install -y -q --no-install-recommends "${missing[@]}"; }
apt_install || { apt-get update -q && apt_install; }

for package in "${packages[@]}"; do
  installed "$package" || { echo "install-peers: $package did not install" >&2; exit 1; }
done
echo "peers: installed ${#missing[@]} packages: ${missing[*]}"
unpack

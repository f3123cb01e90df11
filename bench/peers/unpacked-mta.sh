#!/usr/bin/env bash
# unpacked-mta.sh - Exim and OpenSMTPD for interop tests. Their packages cannot be
# installed beside Postfix, so they are unpacked into a root directory of
# their own, with the libraries they need, and run there by chroot.
#
# Usage: unpacked-mta.sh unpack        (as root, on Debian; does nothing if done)
#        unpacked-mta.sh --check       (exit 1 and a reason if it is not done)
#        unpacked-mta.sh start DIR exim|opensmtpd PORT NEXTHOP_PORT
#        unpacked-mta.sh stop  DIR
#
# start: a receiving server on 127.0.0.1:PORT that relays what it takes to
# 127.0.0.1:NEXTHOP_PORT. Logs are in DIR/log.
#
# Environment:
#   MTA_ROOT   where they are unpacked (default /opt/mailactors-peers)
#   CERT, KEY  PEM files for STARTTLS (default: self-signed)
#              OpenSMTPD 6.8 of Debian 12 offers STARTTLS and fails at it: its
#              signing process does not get on with OpenSSL 3
#   LOGIN      user:password that AUTH takes (default: AUTH is not offered)
#   NEXTHOP_CA PEM file: relays with TLS only, to a certificate of this authority
#              for next.peers.test (default: without TLS)
set -euo pipefail
# shellcheck source=peer-common.sh
. "$(dirname "${BASH_SOURCE[0]}")/peer-common.sh"

usage() { sed -n '2,/^set -e/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2; }
[ $# -ge 1 ] || usage
mta_root=${MTA_ROOT:-/opt/mailactors-peers}
programs=(usr/sbin/exim4 usr/sbin/smtpd)
packages=(exim4-daemon-light opensmtpd)
# Libraries of theirs that a machine with Postfix may lack.
libraries=(libevent-2.1-7 libgnutls-dane0 libidn12 libnsl2 libtirpc3 libunbound8)

unpack() {
  [ "$(id -u)" -eq 0 ] || die "must be root: chroot needs it"
  local work root name file
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # now, not later
  trap "rm -rf '$work'" EXIT
  chmod 755 "$work"
  root=$work/root
  mkdir -p "$root/usr/lib" "$work/libraries"
  (cd "$work" && apt-get -o APT::Sandbox::User=root download -q "${packages[@]}" "${libraries[@]}" >/dev/null)
  for file in "$work"/*.deb; do
    name=$(basename "$file" | cut -d_ -f1)
    case " ${packages[*]} " in
      *" $name "*) dpkg -x "$file" "$root" ;;
      *) dpkg -x "$file" "$work/libraries" ;;
    esac
  done
  find "$work/libraries" -name "*.so.*" -exec cp -P {} "$root/usr/lib/" \;
  rm -rf "${root:?}"/usr/share "$root/etc"
  # ldd names a library that is not there, so a failure shows.
  local path
  LD_LIBRARY_PATH=$root/usr/lib ldd "${programs[@]/#/$root/}" >"$work/ldd"
  ! grep -q 'not found' "$work/ldd" || { grep 'not found' "$work/ldd" >&2; die "libraries are missing"; }
  grep -o '/[^ :]*' "$work/ldd" | grep -v "^$work" | sort -u | while read -r path; do
    mkdir -p "$root$(dirname "$path")"
    cp -L "$path" "$root$path"
  done
  mkdir -p "$root"/{dev,etc,tmp,root,run} "$root/var"/{empty,run,spool/exim4} "$root/var/lib/opensmtpd/empty"
  chmod 1777 "$root/tmp"
  mknod -m 666 "$root/dev/null" c 1 3
  mknod -m 666 "$root/dev/random" c 1 8
  mknod -m 666 "$root/dev/urandom" c 1 9
  printf '%s:x:%s:%s::/:/bin/false\n' root 0 0 mail 8 8 nobody 65534 65534 \
    opensmtpd 801 801 opensmtpq 802 802 Debian-exim 803 803 >"$root/etc/passwd"
  printf '%s:x:%s:\n' root 0 mail 8 nogroup 65534 opensmtpd 801 opensmtpq 802 Debian-exim 803 >"$root/etc/group"
  printf 'passwd: files\ngroup: files\nhosts: files\n' >"$root/etc/nsswitch.conf"
  printf '127.0.0.1 localhost mta.peers.test next.peers.test\n' >"$root/etc/hosts"
  printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >"$root/etc/resolv.conf"
  chown 803:803 "$root/var/spool/exim4"
  chroot "$root" /usr/sbin/exim4 -bV -C /dev/null >/dev/null || die "exim does not run in $root"
  mkdir -p "$(dirname "$mta_root")"
  rm -rf "$mta_root"
  mv "$root" "$mta_root"
  echo "unpacked-mta: ${packages[*]} in $mta_root"
}

check() {
  local program
  for program in "${programs[@]}"; do
    [ -x "$mta_root/$program" ] || { echo "unpacked-mta: no $program in $mta_root" >&2; return 1; }
  done
}

exim_config() { # PORT NEXTHOP_PORT
  cat <<CF
primary_hostname = mta.peers.test
qualify_domain = peers.test
exim_user = Debian-exim
local_interfaces = 127.0.0.1
daemon_smtp_ports = $1
spool_directory = /var/spool/exim4
log_file_path = /log/%s
log_selector = +tls_cipher +smtp_connection +smtp_incomplete_transaction
keep_environment =
never_users =
tls_advertise_hosts = *
tls_certificate = /etc/cert.pem
tls_privatekey = /etc/key.pem
auth_advertise_hosts = *
# All at once, however many come over one connection.
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
all:
  driver = manualroute
  route_list = * next.peers.test byname
  self = send
  transport = next
begin transports
next:
  driver = smtp
  port = $2
  hosts_try_fastopen =
CF
  if [ -n "${NEXTHOP_CA:-}" ]; then
    printf '  %s\n' 'hosts_require_tls = *' 'tls_verify_hosts = *' 'tls_verify_certificates = /etc/ca.pem'
  else
    echo '  hosts_avoid_tls = *'
  fi
  printf '%s\n' 'begin retry' '* * F,1h,5s'
  [ -n "${LOGIN:-}" ] || return 0
  cat <<CF
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = \${if and{{eq{\$auth2}{${LOGIN%%:*}}}{eq{\$auth3}{${LOGIN#*:}}}}}
  server_set_id = \$auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = User Name : Password
  server_condition = \${if and{{eq{\$auth1}{${LOGIN%%:*}}}{eq{\$auth2}{${LOGIN#*:}}}}}
  server_set_id = \$auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = \${if eq{\$auth1}{${LOGIN%%:*}}{${LOGIN#*:}}fail}
  server_set_id = \$auth1
CF
}

opensmtpd_config() { # PORT NEXTHOP_PORT
  printf '%s\n' 'pki mta.peers.test cert "/etc/cert.pem"' 'pki mta.peers.test key "/etc/key.pem"'
  local auth='' scheme=smtp+notls
  if [ -n "${NEXTHOP_CA:-}" ]; then
    scheme=smtp+tls
    mkdir -p "$root/etc/ssl/certs"
    cp "$NEXTHOP_CA" "$root/etc/ssl/certs/ca-certificates.crt"
  fi
  if [ -n "${LOGIN:-}" ]; then
    printf '%s %s\n' "${LOGIN%%:*}" "$(openssl passwd -6 "${LOGIN#*:}")" >"$root/etc/logins"
    chmod 640 "$root/etc/logins"
    echo 'table logins file:/etc/logins'
    auth='auth-optional <logins>'
  fi
  printf '%s\n' "listen on 127.0.0.1 port $1 tls pki mta.peers.test $auth hostname mta.peers.test" \
    "action next relay host $scheme://next.peers.test:$2" 'match from any for any action next'
}

start() { # DIR PROGRAM PORT NEXTHOP_PORT
  [ "$(id -u)" -eq 0 ] || die "must be root: chroot needs it"
  check
  ! port_open 127.0.0.1 "$3" || die "port $3 is taken"
  mkdir -p "$1"
  dir=$(cd "$1" && pwd)
  root=$dir/root
  cp -a "$mta_root" "$root"
  mkdir -p "$dir/log"
  if [ -z "${CERT:-}" ]; then
    self_signed "$dir/tls" mta.peers.test
    CERT=$dir/tls/cert.pem KEY=$dir/tls/key.pem
  fi
  cp "$CERT" "$root/etc/cert.pem"
  cp "$KEY" "$root/etc/key.pem"
  chmod 600 "$root/etc/key.pem"
  if [ -n "${NEXTHOP_CA:-}" ]; then cp "$NEXTHOP_CA" "$root/etc/ca.pem"; fi
  case $2 in
    exim)
      chown 803:803 "$root/etc/key.pem"
      # Where it looks by itself: with -C its own processes would lose their rights.
      mkdir -p "$root/etc/exim4"
      exim_config "$3" "$4" >"$root/etc/exim4/exim4.conf"
      mkdir -p "$root/log"
      chown 803:803 "$root/log"
      rmdir "$dir/log"
      ln -s root/log "$dir/log"
      command=(/usr/sbin/exim4 -bdf -q1m)
      ;;
    opensmtpd)
      opensmtpd_config "$3" "$4" >"$root/etc/mta.conf"
      command=(/usr/sbin/smtpd -d -f /etc/mta.conf)
      ;;
    *) usage ;;
  esac
  chroot "$root" "${command[@]}" >"$dir/log/output" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  wait_port 127.0.0.1 "$3" || { tail -5 "$dir/log/output" >&2; die "no answer on 127.0.0.1:$3"; }
  echo "unpacked-mta: $2 on 127.0.0.1:$3, pid $(cat "$dir/pid"), $dir"
}

case $1 in
  unpack) if check 2>/dev/null; then echo "unpacked-mta: $mta_root is there"; else unpack; fi ;;
  --check) check ;;
  start) [ $# -eq 5 ] || usage; start "$2" "$3" "$4" "$5" ;;
  stop) [ $# -eq 2 ] || usage; stop_pidfile "$2/pid" ;;
  *) usage ;;
esac

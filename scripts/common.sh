# Shared by scripts/demo and scripts/test; sourced, never run. Brings a machine with nothing on it to a checkout
# that works: a Python, the system's packages, .venv. The callers set `yes` to 1 where nothing may be asked.
# Works with bash 3.2 and later.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
LOCK_TIMEOUT=300      # seconds that apt waits for another installation
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK="# Ampify Zero's, for the time of an installation."
could_not=""          # what could not be installed, for the caller to say or to end with
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
unset PYTHONDONTWRITEBYTECODE  # thousands of commands would each compile the same modules

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2; exit "${3:-5}"; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- rights and questions -------------------------------------------------------------------------------------

# Whether there is a person, seen once: sudo asks on the terminal also for a command whose stdin is a file.
terminal=0
[ ! -t 0 ] || terminal=1

as_root() {  # run a command as root; fails when that is not possible
    if [ "$(id -u)" = 0 ]; then "$@"
    elif ! have sudo; then return 1
    elif [ $terminal = 1 ]; then sudo "$@"
    else sudo -n "$@"
    fi
}

may_be_root() { [ "$(id -u)" = 0 ] || { have sudo && { [ $terminal = 1 ] || sudo -n true 2>/dev/null; }; }; }

agreed_as_root() {  # agreed, and where sudo wants a password it has asked for it: not in the midst of the work
    agreed "$1" && { [ "$(manager)" = brew ] || as_root true || { say "$NOT_ROOT"; return 1; }; }
}

agreed() {  # ask a yes-no question; without a terminal or with --yes the answer is yes
    if [ "${yes:-0}" = 1 ] || [ $terminal = 0 ]; then return 0; fi
    local answer
    read -r -p "$1 [Y/n] " answer || return 1
    case $answer in ""|[yY]*) return 0 ;; *) return 1 ;; esac
}

NOT_ROOT="This user is not root, and cannot use sudo here."
NO_MANAGER="No package manager that this script knows (apt-get, dnf, brew)."

# --- the system's packages ------------------------------------------------------------------------------------

manager() {
    if have apt-get; then echo apt; elif have dnf; then echo dnf; elif have brew; then echo brew; else echo none; fi
}

package_names() {  # the names that a program's package may have here, the best first
    case $(manager):$1 in
        apt:redis-server) echo redis-server redis ;;
        apt:etcd) echo etcd-server etcd ;;             # etcd-server since Debian 10 and Ubuntu 20.10
        apt:chromium) echo chromium ;;
        apt:chromedriver) echo chromium-driver ;;
        apt:ssh-keygen) echo openssh-client ;;
        apt:sshd) echo openssh-server ;;
        apt:ip) echo iproute2 ;;
        apt:nft|dnf:nft) echo nftables ;;
        apt:miniupnpd) echo miniupnpd-nftables ;;      # the plain package brings the configuration of a router
        apt:pg_createcluster) echo postgresql ;;       # the server's programs are not on the PATH there
        apt:setpriv|dnf:setpriv) echo util-linux ;;
        dnf:faketime) echo libfaketime ;;
        apt:certutil) echo libnss3-tools ;;
        dnf:certutil) echo nss-tools ;;
        brew:certutil) echo nss ;;
        dnf:pebble|brew:pebble) ;;                     # none has this server of ACME
        brew:setpriv|brew:faketime|brew:nft|brew:miniupnpd) ;;  # what they are for is Linux's
        dnf:miniupnpd) ;;                              # Fedora has none
        dnf:initdb) echo postgresql-server ;;
        brew:initdb) echo postgresql ;;
        apt:systemd-analyze|dnf:systemd-analyze) echo systemd ;;
        dnf:redis-server) echo redis valkey-compat-redis ;;
        dnf:ssh-keygen) echo openssh-clients ;;
        dnf:sshd) echo openssh-server ;;
        dnf:ip) echo iproute ;;
        brew:ip) ;;                                    # only Linux has network namespaces
        brew:redis-server) echo redis ;;
        brew:ssh-keygen|brew:sshd) echo openssh ;;
        brew:chromium|brew:chromedriver) ;;            # casks need a person: see what is said at the end
        *) echo "$1" ;;
    esac
}

lists_fetched=0

refresh_lists() {  # apt's lists are fetched when they are missing or older than a day, and once a run at most
    [ "$(manager)" = apt ] && [ $lists_fetched = 0 ] || return 0
    if [ "${1:-}" != now ] && [ -n "$(find /var/lib/apt/lists -name '*Packages*' -mtime -1 2>/dev/null)" ]; then return 0; fi
    lists_fetched=1
    say "Fetching the package lists: apt-get update"
    as_root apt-get update -qq >&2 || say "apt-get update failed; going on with the lists that are here"
}

candidate() {  # the version of a package that apt would install; nothing where there is none
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p' | sed '/^(none)$/d'
}

only_a_snap() { case $(candidate "$1") in *snap*) return 0 ;; *) return 1 ;; esac; }

available() {  # whether the package manager can install this package
    case $(manager) in
        apt) [ -n "$(candidate "$1")" ] && ! only_a_snap "$1" ;;
        dnf) dnf -q info "$1" >/dev/null 2>&1 ;;
        brew) brew info "$1" >/dev/null 2>&1 ;;
        *) false ;;
    esac
}

install_packages() {  # install all of these, without starting their system services; quietly, unless it fails
    local said result=0
    say "Installing: $*"
    said=$(mktemp)
    install_loudly "$@" </dev/null >"$said" 2>&1 || result=$?
    [ $result = 0 ] || tail -n 20 "$said" >&2
    rm -f "$said"
    return $result
}

start_nothing() {  # policy-rc.d says whether packages may start their services; ours says no until all may again
    # invoke-rc.d obeys RUNLEVEL; under systemd only policy-rc.d keeps a new nginx off port 80.
    if [ ! -e $POLICY ]; then
        trap 'as_root rm -f $POLICY' EXIT
        printf '%s\n' '#!/bin/sh' "$POLICY_MARK" 'exit 101' | as_root tee $POLICY >/dev/null
        as_root chmod 755 $POLICY
    fi
}

start_again() {  # also where a killed run has left it
    if grep -qsxF "$POLICY_MARK" $POLICY; then as_root rm -f $POLICY; fi
    trap - EXIT
}

install_loudly() {
    case $(manager) in
        apt)
            local result=0
            start_nothing
            # A machine that was just started installs its own updates first: wait for them.
            as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq \
                --no-install-recommends -o DPkg::Lock::Timeout=$LOCK_TIMEOUT "$@" || result=$?
            start_again
            return $result ;;
        dnf) as_root dnf install -y -q "$@" ;;
        brew) brew install --quiet "$@" ;;
        *) return 1 ;;
    esac
}

do_not_start_at_boot() {  # packages just installed bring units of their own; nobody asked for these to run
    have systemctl && [ -d /run/systemd/system ] || return 0
    local package unit units
    for package in "$@"; do
        case $package in
            nginx) units="nginx.service" ;;
            redis*) units="redis-server.service redis.service" ;;
            etcd*) units="etcd.service" ;;
            postgresql) units="postgresql.service" ;;
            openssh-server) units="ssh.service ssh.socket sshd.service" ;;
            *) continue ;;
        esac
        # Each for itself: some of the names are not there, and one that is missing stops the others.
        for unit in $units; do as_root systemctl disable --quiet "$unit" >/dev/null 2>&1 || true; done
    done
}

need_programs() {  # need_programs nginx etcd ...: install the missing; `could_not` names what is still missing
    local program package names packages="" missing=""
    for program in "$@"; do have "$program" || missing="$missing $program"; done
    [ -n "$missing" ] || return 0
    say "Missing programs:$missing"
    if [ "$(manager)" = none ]; then
        say "$NO_MANAGER"
    elif [ "$(manager)" != brew ] && ! may_be_root; then
        say "Installing them needs root. $NOT_ROOT"
    else
        ! agreed_as_root "Install them with $(manager)?" || {
            refresh_lists
            for program in $missing; do
                names=$(package_names "$program")
                for package in $names; do
                    if available "$package"; then packages="$packages $package"; break; fi
                done
            done
            # shellcheck disable=SC2086  # a list of names
            if [ -n "$packages" ]; then
                # Old lists name packages that are gone, so once more with new ones; then each for itself, so
                # that one which fails does not keep the others out.
                install_packages $packages || { refresh_lists now; install_packages $packages; } ||
                    for package in $packages; do install_packages "$package" || say "Could not install $package."; done
                do_not_start_at_boot $packages
            fi
        }
    fi
    hash -r
    for program in $missing; do
        have "$program" || could_not="$could_not $program"
    done
    if [ -n "$could_not" ]; then say "Could not install:$could_not"; explain_missing; fi
}

by_hand() {  # what a person types who may install these packages
    case $(manager) in
        apt) echo "as root: apt-get install --no-install-recommends $*" ;;
        dnf) echo "as root: dnf install $*" ;;
        brew) echo "brew install $*" ;;
        *) echo "install by hand: $*" ;;
    esac
}

first_packages() {  # the package of each program, as far as it has one here
    local program
    for program in "$@"; do package_names "$program" | cut -d' ' -f1; done | xargs
}

explain_missing() {
    local program
    for program in $could_not; do
        case $program in
            chromium|chromedriver)
                if have apt-cache && only_a_snap chromium-browser; then
                    say "  $program: this Ubuntu has it only as a snap (snap install chromium); the browser tests want a real package"
                else
                    say "  $program: install Chromium and its driver by hand for the browser tests"
                fi ;;
            *) say "  $program: usually in the package $(package_names "$program" | cut -d' ' -f1)" ;;
        esac
    done
}

# --- Python and .venv -----------------------------------------------------------------------------------------

is_supported() {  # a Python from 3.11 to 3.14
    have "$1" && "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

is_supported_candidate() {  # apt has one to give
    [ "$(manager)" = apt ] || return 1
    case $(candidate python3) in 3.1[1-4].*) return 0 ;; *) return 1 ;; esac
}

suits() { is_supported "$1" && "$1" -c 'import ensurepip, venv' 2>/dev/null; }  # and it can make environments

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11 python3.14; do
        if suits "$name"; then command -v "$name"; return 0; fi
    done
    return 1
}

need_python() {  # sets `python`, installing one where the system has one to give
    python=$(find_python) && return 0
    say "No Python from 3.11 to 3.14 with venv."
    if [ "$(manager)" = none ]; then
        say "$NO_MANAGER"
    elif [ "$(manager)" != brew ] && ! may_be_root; then
        say "Installing one needs root. $NOT_ROOT"
    elif agreed_as_root "Install one with $(manager)?"; then
        refresh_lists
        case $(manager) in
            apt) install_packages python3 python3-venv || { refresh_lists now; install_packages python3 python3-venv; } || true ;;
            dnf) install_packages python3 || true ;;
            brew) install_packages python@3.13 || true ;;
        esac
        hash -r
        python=$(find_python) && return 0
        local minor
        for minor in 13 12 11 14; do
            if [ "$(manager)" != brew ] && available "python3.$minor"; then
                if [ "$(manager)" = apt ]; then install_packages "python3.$minor" "python3.$minor-venv" || true
                else install_packages "python3.$minor" || true; fi
                hash -r
                python=$(find_python) && return 0
            fi
        done
    fi
    if is_supported python3; then
        die "$(python3 --version) is here, but what makes environments is missing" \
            "$(if [ "$(manager)" = apt ]; then by_hand python3-venv; else echo "install Python's ensurepip and venv"; fi)"
    fi
    die "there is no Python from 3.11 to 3.14 here (python3 is $(python3 --version 2>/dev/null || echo missing))" \
        "$(if is_supported_candidate; then by_hand python3 python3-venv
           else echo "use Debian 12, Ubuntu 24.04 or later, or install python3.11 and its venv package by hand"; fi)"
}

need_venv() {  # need_venv EXTRAS: .venv with this checkout in it; installed again only when pyproject.toml changed
    local extras=$1 stamp=$venv/ampzero-installed sum
    if [ -e "$venv" ] && ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        [ -f "$venv/pyvenv.cfg" ] || [ -z "$(ls -A "$venv")" ] || die "$venv is in the way, and is no Python environment"
        say "Making .venv again: the old one does not work"
        rm -rf "$venv"
    fi
    if [ ! -x "$venv/bin/python" ]; then
        need_python
        say "Making .venv with $("$python" --version)"
        "$python" -m venv "$venv" || die "could not make $venv"
    fi
    sum="$(cksum <"$root/pyproject.toml") $root"
    # What the tests need contains what the demo needs.
    if [ -x "$venv/bin/ampzero" ] && grep -qxF -e "$extras $sum" -e "dev $sum" "$stamp" 2>/dev/null; then return 0; fi
    say "Installing Ampify Zero and its libraries into .venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        -e "$root[$extras]" </dev/null >&2 || die "pip could not install the libraries" "see its message above; is PyPI reachable?"
    printf '%s\n' "$extras $sum" >"$stamp"
}

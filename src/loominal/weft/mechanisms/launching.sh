# Starts, shows and ends the agent of one launch: read by /bin/sh from its standard input, here (local) or on another
# machine (ssh). It needs Linux, and what every Linux has. launching.py writes before it, every word quoted:
#
#   nonce home launch cwd channel enrolment grace   variables; home is the fabric's, channel "stdin" or "environment"
#   variables                                       a function that exports what the target says
#   the positional parameters                       the command
#
# and after it what to do: start, look, stop or check. Each launch has a folder, in which there is
#
#   keeper      "pid:start time" of the shell that waits for the command, or is about to run it
#   reference   "pid:start time" of the command              output    what it printed, cut now and then
#   started     once the command has lived a while           exit      its exit code, else "-" and why it did not run
#   stopped     once it was asked to end: it may not begin any more
#
# shellcheck shell=sh disable=SC2154,SC2030,SC2031

OUTPUT_BYTES=65536     # that are shown
LONGEST_OUTPUT=1048576 # one that is longer is cut to OUTPUT_BYTES
TRIM_SECONDS=10
SURVIVED=5 # looks, 0.1 s apart, that make a command one that has started
AWAITED=100 # looks, 0.1 s apart, at a start that somebody else makes
FORCE_SECONDS=5 # for what was killed to be gone
KEPT_DAYS=8

start() { # COMMAND...
    umask 077
    mkdir -p "$launches"
    if ! mkdir "$here" 2>/dev/null; then
        if [ -d "$here" ]; then tell_again; else say failed - home && show; fi
        return
    fi
    trap : TERM HUP INT
    note keeper "$$:$(born $$)"
    : >>"$here/output"
    if [ -e "$here/stopped" ]; then # whoever asks it to end writes this first, and then looks for the keeper
        note exit "- stopped"
    elif why=$(wrong "$@"); then
        note exit "- $why"
    fi
    if [ -f "$here/exit" ]; then
        tell_again
        return
    fi
    tell &
    teller=$!
    exec 3>&- >/dev/null 2>&1
    run "$@" </dev/null
    note exit "$?"
    kill "$teller"
    forget
}

run() { # COMMAND...: in a process of its own; the exit code is the command's
    if [ "$channel" = stdin ]; then
        printf '%s\n' "$enrolment" | (LOOMINAL_ENROLMENT=- && become "$@") >>"$here/output" 2>&1
    else
        (LOOMINAL_ENROLMENT=$enrolment && become "$@") >>"$here/output" 2>&1
    fi
}

become() { # COMMAND...: never returns
    place || exit 125
    # shellcheck disable=SC2016 # what that shell calls its parent is this one
    own=$(exec /bin/sh -c 'echo "$PPID"')
    note reference "$own:$(born "$own")"
    umask "$mask"
    LOOMINAL_LAUNCH=$launch
    export LOOMINAL_LAUNCH LOOMINAL_ENROLMENT
    variables # the last, for they may have the names of ours
    exec "$@"
}

tell() { # in the background: say whether the command has started, then keep its output short
    trap '' PIPE
    trap 'over=yes; kill $nap' TERM
    over='' nap='' looks=0
    while [ "$looks" -lt "$SURVIVED" ]; do
        if [ -n "$(found)" ]; then
            looks=$((looks + 1))
        elif [ -f "$here/exit" ] || ! waits; then
            tell_again
            exit
        fi
        sleep 0.1
    done
    note started ""
    tell_again
    exec 3>&- >/dev/null 2>&1
    while [ -z "$over" ] && waits; do
        sleep "$TRIM_SECONDS" &
        nap=$!
        wait "$nap"
        trim
    done
}

tell_again() { # say what came of the start, whoever made it
    looks=0
    while [ "$looks" -lt "$AWAITED" ]; do
        if [ -e "$here/started" ]; then
            say started - "$(known reference)"
            show
            return
        elif [ -e "$here/stopped" ] && [ ! -e "$here/keeper" ]; then
            say failed - stopped
            show
            return
        elif [ -e "$here/keeper" ] && ! waits && [ -z "$(found)" ] || [ -f "$here/exit" ]; then
            say failed "$(known exit)"
            show
            return
        fi
        looks=$((looks + 1))
        sleep 0.1
    done
    say unknown
    show
}

look() {
    if [ -n "$(found)" ] || waits; then
        say running - "$(known reference)"
    elif [ -e "$here/keeper" ]; then
        say ended "$(known exit)" "$(known reference)"
    else
        say gone
    fi
    trim
    show
}

stop() {
    umask 077
    mkdir -p "$here" && : >"$here/stopped" # from here on it may not begin
    asked='' until=$(($(now) + grace))
    while
        pids=$(found)
        [ -n "$pids" ] || waits
    do
        if [ "$(now)" -lt "$until" ]; then
            for pid in $(roots "$pids"); do
                case " $asked " in
                *" $pid "*) ;; # twice could mean "at once" to it
                *) asked="$asked $pid" && kill -s TERM "$pid" 2>/dev/null ;;
                esac
            done
        elif [ "$(now)" -lt $((until + FORCE_SECONDS)) ]; then
            # shellcheck disable=SC2086 # pids are words
            kill -s KILL ${pids:-"$keeper"} 2>/dev/null
        else
            say remains "$pids"
            show
            return
        fi
        sleep 0.1
    done
    say stopped
    show
}

check() { # COMMAND...
    if why=$(wrong "$@"); then
        say wrong - "$why"
    elif ! (umask 077 && mkdir -p "$launches" && [ -w "$launches" ]); then
        say wrong - home
    else
        say fine
    fi
    show
}

wrong() { # COMMAND...: in a subshell: print a word for what keeps it from running; false if nothing does
    place 2>/dev/null || {
        echo cwd
        return
    }
    case $1 in
    */*)
        if [ ! -e "$1" ]; then
            echo missing
        elif [ ! -f "$1" ] || [ ! -x "$1" ]; then
            echo not-executable
        else
            return 1
        fi
        ;;
    *)
        command -v "$1" >/dev/null && return 1
        echo missing
        ;;
    esac
}

place() { # go where the command is to run: below the user's home unless it is said in full
    case $cwd in
    /*) cd "$cwd" || return ;;
    [~] | [~]/*) cd "$HOME${cwd#[~]}" || return ;;
    *) cd "$HOME/$cwd" || return ;;
    esac
}

found() { # print the pids of the command and of all that it has started, also of what went its own way
    pids=$(scan)
    if [ -z "$pids" ]; then
        sleep 0.05
        pids=$(scan) # what forks and ends in the meantime can be missed once
    fi
    printf '%s' "$pids"
}

scan() {
    grep -lF "LOOMINAL_LAUNCH=$launch" /proc/[0-9]*/environ 2>/dev/null | while read -r file; do
        pid=${file#/proc/} pid=${pid%/environ}
        # the variable itself, and no text with line breaks that looks like it
        { tr '\012\000' '\001\012' <"$file" | grep -qxF "LOOMINAL_LAUNCH=$launch"; } 2>/dev/null && echo "$pid"
    done
    command=$(known reference) # it may have cleared its environment
    if lives "$command"; then
        echo "${command%%:*}"
    fi
}

roots() { # PIDS: print those whose parents are not among them
    for pid in $1; do
        parent=$(field 2 "$pid")
        printf '%s\n' "$1" | grep -qx "${parent:-gone}" || echo "$pid"
    done
}

waits() { # whether the keeper is there; $keeper is its pid then
    keeper=$(known keeper)
    lives "$keeper" && keeper=${keeper%%:*}
}

lives() { # "PID:START TIME"
    [ -n "$1" ] && [ "$(born "${1%%:*}")" = "${1#*:}" ] && [ "$(field 1 "${1%%:*}")" != Z ]
}

born() { # PID: print its start time, in ticks since the machine's own
    field 20 "$1"
}

field() { # NUMBER PID: print a field of /proc/PID/stat; the state is the first, as what is before it may be anything
    number=$1
    stat=$(cat "/proc/$2/stat" 2>/dev/null) || return 0
    # shellcheck disable=SC2086 # numbers
    set -- ${stat##*) }
    shift $((number - 1))
    printf '%s' "$1"
}

now() { # print the seconds since the machine's start
    read -r now _ </proc/uptime
    echo "${now%.*}"
}

note() { # NAME TEXT: write a file of the launch at once
    printf '%s\n' "$2" >"$here/.$1" && mv -f "$here/.$1" "$here/$1"
}

known() { # NAME: print what `note` wrote
    [ ! -f "$here/$1" ] || cat "$here/$1"
}

trim() {
    [ -f "$here/output" ] && [ "$(wc -c <"$here/output")" -gt "$LONGEST_OUTPUT" ] || return 0
    (umask 077 && tail -c "$OUTPUT_BYTES" "$here/output" >"$here/.output")
    : >"$here/output" # the command goes on behind whatever is there
    cat "$here/.output" >>"$here/output"
    rm -f "$here/.output"
}

forget() { # the launches that are over for long
    find "$launches" -mindepth 2 -maxdepth 2 '(' -name exit -o -name stopped ')' -mtime "+$KEPT_DAYS" \
        -exec dirname '{}' ';' | while read -r over; do rm -rf "$over"; done
}

say() { # WORD...: the answer's first line
    printf '%s %s\n' "$nonce" "$*" >&3
}

show() { # the answer's rest: the end of the output
    [ ! -f "$here/output" ] || tail -c "$OUTPUT_BYTES" "$here/output" >&3
    printf '\n%s end\n' "$nonce" >&3
}

exec 3>&1
mask=$(umask)
home=${home:-${LOOMINAL_HOME:-${XDG_STATE_HOME:-$HOME/.local/state}/loominal}}
launches=$home/launches
here=$launches/$launch

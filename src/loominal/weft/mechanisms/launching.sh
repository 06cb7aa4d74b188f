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
TRIM_SECONDS=8 # between two looks whether it is; one second where it was
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
    kernel $$
    note keeper "$$:$born"
    : >>"$here/output"
    if [ -e "$here/stopped" ]; then # whoever asks it to end writes this first, and then looks for the keeper
        note exit "- stopped"
    elif why=$(wrong "$@"); then
        note exit "- $why"
    fi
    if [ -s "$here/exit" ]; then
        tell_again
        return
    fi
    tell &
    teller=$!
    exec 3>&- >/dev/null 2>&1
    run "$@" </dev/null
    note exit "$?"
    kill "$teller"
    wait "$teller" # it may be cutting the output: until then this launch has not ended
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
    kernel "$own"
    note reference "$own:$born"
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
        if found; then
            looks=$((looks + 1))
        elif is_over; then
            tell_again
            exit
        fi
        sleep 0.1
    done
    note started yes
    tell_again
    exec 3>&- >/dev/null 2>&1
    seconds=1
    while [ -z "$over" ] && waits; do
        sleep "$seconds" &
        nap=$!
        [ -n "$over" ] || wait "$nap"
        if trim; then seconds=1; elif [ "$seconds" -lt "$TRIM_SECONDS" ]; then seconds=$((seconds * 2)); fi
    done
}

tell_again() { # say what came of the start, whoever made it
    looks=0
    while [ "$looks" -lt "$AWAITED" ]; do
        if [ -s "$here/started" ]; then
            known reference
            say started - "$known"
            show
            return
        elif [ -e "$here/stopped" ] && [ ! -s "$here/keeper" ]; then
            say failed - stopped
            show
            return
        elif is_over; then
            known exit
            say failed "$known"
            show
            return
        fi
        looks=$((looks + 1))
        sleep 0.1
    done
    say unknown
    show
}

is_over() { # whether nothing of the launch runs, and nothing will
    known exit
    case $known in
    -*) return 0 ;; # it was never run
    '') [ -s "$here/keeper" ] && ! waits && ! found ;;
    *) ! found ;;
    esac
}

look() {
    if waits || found; then
        waits || trim # else its keeper does, and two at once would lose what they cut
        known reference
        say running - "$known"
    elif [ -s "$here/keeper" ]; then
        known exit
        code=$known
        known reference
        say ended "$code" "$known"
        trim
    else
        say gone
    fi
    show
}

stop() {
    umask 077
    mkdir -p "$here" && : >"$here/stopped" # from here on it may not begin
    clock
    asked='' until=$((now + grace)) group=''
    if waits; then group=$keeper; fi
    while found || waits; do
        clock
        if [ "$now" -lt "$until" ]; then
            ask_roots
        elif [ "$now" -lt $((until + FORCE_SECONDS)) ]; then
            # shellcheck disable=SC2086 # pids are words
            kill -s KILL ${pids:-"$keeper"} 2>/dev/null
        else
            say remains "$pids"
            show
            return
        fi
        sleep 0.1
    done
    [ -z "$group" ] || kill -KILL "-$group" 2>/dev/null # what has cleared its environment
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

found() { # whether something of the launch runs: the command, what it has started, also what went its own way; $pids
    for _ in 1 2 3 4; do # what is becoming another program has no environment for a moment
        pids=$(scan)
        [ -z "$pids" ] || return 0
        [ -d "$here" ] || return 1
        sleep 0.05
    done
    return 1
}

scan() { # print the pids
    grep -lF "LOOMINAL_LAUNCH=$launch" /proc/[0-9]*/environ 2>/dev/null | while read -r file; do
        pid=${file#/proc/} pid=${pid%/environ}
        # the variable itself, and no text with line breaks that looks like it
        { tr '\012\000' '\001\012' <"$file" | grep -qxF "LOOMINAL_LAUNCH=$launch"; } 2>/dev/null && echo "$pid"
    done
    known reference # it may have cleared its environment
    lives "$known" && echo "${known%%:*}"
}

ask_roots() { # ask those of $pids to end whose parents are not among them: what they have started is theirs to end
    for pid in $pids; do
        kernel "$pid"
        case "
$pids
" in *"
$parent
"*) continue ;; esac
        case " $asked " in *" $pid "*) continue ;; esac # twice could mean "at once" to it
        asked="$asked $pid"
        kill -s TERM "$pid" 2>/dev/null
    done
}

waits() { # whether the keeper is there; $keeper is its pid then
    known keeper
    lives "$known" && keeper=${known%%:*}
}

lives() { # "PID:START TIME"
    [ -n "$1" ] && kernel "${1%%:*}" && [ "$born" = "${1#*:}" ] && [ "$state" != Z ]
}

kernel() { # PID: set $state, $parent and $born, its start in ticks since the machine's; false if there is no such process
    state='' parent='' born=''
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
    # shellcheck disable=SC2086 # words, behind a name that may be anything
    set -- ${stat##*) }
    [ "$#" -ge 20 ] || return
    state=$1 parent=$2
    shift 19
    born=$1
}

clock() { # set $now to the seconds since the machine's start
    read -r now _ </proc/uptime
    now=${now%.*}
}

note() { # NAME TEXT
    printf '%s\n' "$2" >"$here/$1"
}

known() { # NAME: set $known to what `note` wrote; a file that is being written is as good as none
    known=''
    [ ! -s "$here/$1" ] || read -r known <"$here/$1"
}

trim() { # false if there was no need to
    [ -f "$here/output" ] && [ "$(wc -c <"$here/output")" -gt "$LONGEST_OUTPUT" ] || return
    (umask 077 && tail -c "$OUTPUT_BYTES" "$here/output" >"$here/.output.$$")
    if waits || found; then
        : >"$here/output" # the command goes on behind whatever is there
        cat "$here/.output.$$" >>"$here/output"
        rm -f "$here/.output.$$"
    else
        mv -f "$here/.output.$$" "$here/output" # whoever else looks sees the one or the other
    fi
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

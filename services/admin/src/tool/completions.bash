
# Destinations and methods of `qubes-admin call`, qubes of `show`.
_qubes_admin_values() {
    local current=${COMP_WORDS[COMP_CWORD]} root=${QUBES_ADMIN_ROOT:-} word command='' place=0
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
        -*) ;;
        *) if [ -z "$command" ]; then command=$word; else place=$((place + 1)); fi ;;
        esac
    done
    local qubes methods
    qubes=$(cd "$root/var/lib/qubes/admin/qubes" 2>/dev/null && printf '%s\n' *.json)
    methods=$(cd "$root/etc/qubes-rpc" 2>/dev/null && printf '%s\n' admin.*)
    case $command/$place in
    call/0 | show/0) mapfile -t COMPREPLY < <(compgen -W "${qubes//.json/}" -- "$current") ;;
    call/1) mapfile -t COMPREPLY < <(compgen -W "$methods" -- "$current") ;;
    *) _qubes-admin "$@" ;;
    esac
    [ "${#COMPREPLY[@]}" -gt 0 ] || _qubes-admin "$@"
}
complete -F _qubes_admin_values -o nosort -o bashdefault -o default qubes-admin

//! What routers and hosts on the way say by ICMP, as the error number that the kernel makes of it.

use nix::errno::Errno;

/// That it could not be delivered, whatever the reason (icmp_err_convert, net/ipv4/icmp.c; icmpv6_err_convert,
/// net/ipv6/icmp.c), or that we have no way ourselves. A closed port is ECONNREFUSED, and what ICMPv6 calls forbidden EACCES.
pub fn says_unreachable(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EPROTO
    )
}

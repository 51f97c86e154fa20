//! One question to a DNS server, and whether its answer is one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE, header_buffer};

use super::{CheckError, Dns};

/// The least that a record takes: a name of one byte, type, class, lifetime and length (RFC 1035, section 3.2.1).
const SMALLEST_RECORD: usize = 11;

/// So many addresses of a wrong answer are told.
const TOLD: usize = 3;

/// The message that asks for the name. Without EDNS: the answer has 512 bytes at most, which an address fits in.
pub fn question(dns: &Dns, id: u16) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(asked(dns));
    packet.build_bytes_vec().expect("the config lets in nothing but host names, and memory takes it")
}

fn asked(dns: &Dns) -> Question<'_> {
    let kind = match dns.answer {
        Some(IpAddr::V6(_)) => TYPE::AAAA,
        Some(IpAddr::V4(_)) | None => TYPE::A,
    };
    Question::new(Name::new_unchecked(&dns.name), kind.into(), CLASS::IN.into(), false)
}

/// What a datagram says to the question; `None`: it is no answer to it. Whoever forges one has to guess the id, and a torn
/// one may be forged: the true one may still come.
pub fn judge(dns: &Dns, id: u16, datagram: &[u8]) -> Option<Result<(), CheckError>> {
    // The library makes room for as many records as the head names, up to 65535 in each of three lists.
    let records = [header_buffer::answers, header_buffer::name_servers, header_buffer::additional_records];
    let named: usize =
        records.iter().map(|count| count(datagram).map_or(0, usize::from)).sum::<usize>() * SMALLEST_RECORD;
    if header_buffer::id(datagram) != Ok(id) || named > datagram.len() {
        return None;
    }
    let packet = Packet::parse(datagram).ok()?;
    let is_ours = match &packet.questions[..] {
        [question] => {
            let asked = asked(dns);
            (&question.qname, question.qtype, question.qclass) == (&asked.qname, asked.qtype, asked.qclass)
        }
        // Some servers do not repeat what they refuse.
        [] => packet.rcode() != RCODE::NoError,
        _ => false,
    };
    (packet.has_flags(PacketFlag::RESPONSE) && is_ours).then(|| verdict(dns, &packet))
}

fn verdict(dns: &Dns, packet: &Packet) -> Result<(), CheckError> {
    let word = match packet.rcode() {
        RCODE::NoError => return look_for_address(dns, packet),
        RCODE::NameError => "NXDOMAIN: the name is not known there",
        RCODE::ServerFailure => "SERVFAIL",
        RCODE::Refused => "REFUSED",
        RCODE::FormatError => "FORMERR",
        RCODE::NotImplemented => "NOTIMP",
        _ => "an error",
    };
    Err(CheckError::wrong(format!("answers {word}")))
}

fn look_for_address(dns: &Dns, packet: &Packet) -> Result<(), CheckError> {
    let address = |data: &RData| match (data, dns.answer) {
        (RData::A(a), None | Some(IpAddr::V4(_))) => Some(IpAddr::from(Ipv4Addr::from(a.address))),
        (RData::AAAA(aaaa), Some(IpAddr::V6(_))) => Some(IpAddr::from(Ipv6Addr::from(aaaa.address))),
        _ => None,
    };
    let records = packet.answers.iter().filter(|record| record.class == CLASS::IN);
    let found: Vec<IpAddr> = records.filter_map(|record| address(&record.rdata)).collect();
    if dns.answer.map_or(!found.is_empty(), |answer| found.contains(&answer)) {
        return Ok(());
    }
    let told: Vec<String> = found.iter().take(TOLD).map(IpAddr::to_string).collect();
    let words = match (dns.answer, packet.has_flags(PacketFlag::TRUNCATION)) {
        (_, true) => {
            "answers with more than a datagram holds, and what is looked for is not in it".to_owned()
        }
        (Some(answer), false) if !told.is_empty() => format!(
            "answers with {} in place of {answer} (does somebody on this line answer every name?)",
            told.join(", ")
        ),
        _ => "answers that the name has no address".to_owned(),
    };
    Err(CheckError::wrong(words))
}

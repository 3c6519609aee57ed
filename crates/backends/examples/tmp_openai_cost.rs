//! tmp
#![allow(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, clippy::expect_used)]
use futures_util::StreamExt;
use std::io::{Read, Write};
use tidewire_core::port::*;
fn cpu() -> u64 { std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse().unwrap() }
fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let n = 500_000usize;
    let paced = std::env::args().nth(1).is_some();
    std::thread::spawn(move || loop {
        let (mut s, _) = listener.accept().unwrap();
        s.set_nodelay(true).unwrap();
        let mut buf = [0u8; 4096];
        s.read(&mut buf).unwrap();
        s.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let ev = "data: {\"id\":\"chatcmpl-CabcdefGHIJ\",\"object\":\"chat.completion.chunk\",\"created\":1763800000,\"model\":\"gpt-4.1-mini-2025-04-14\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_1234567890\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n";
        let frame = format!("{:x}\r\n{}\r\n", ev.len(), ev);
        let n = if paced { 50_000 } else { n };
        if paced { for _ in 0..n { s.write_all(frame.as_bytes()).unwrap(); std::thread::sleep(std::time::Duration::from_micros(20)); } }
        else { let many = frame.repeat(100); for _ in 0..n / 100 { s.write_all(many.as_bytes()).unwrap(); } }
        let ev = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        s.write_all(format!("{:x}\r\n{}\r\n0\r\n\r\n", ev.len(), ev).as_bytes()).unwrap();
    });
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let backend = tidewire_backends::openai::OpenAi::new(&base, None).unwrap();
    rt.block_on(async {
        for _ in 0..3 {
            let start = cpu();
            let mut run = backend.run(Request { model: "m".into(), input: "{}".into(), committed: String::new(), timeouts: Timeouts::default() }).await.unwrap();
            let mut count = 0u64;
            while let Some(c) = run.chunks.next().await { c.unwrap(); count += 1; }
            println!("{count} chunks, {} ns CPU each", (cpu() - start) / count);
        }
    });
}

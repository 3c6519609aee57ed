//! Measures what batching gains on the built-in model: 1, 8, 16 and 32 tasks at once, on 1 and on 2 threads.
//! `cargo run --release -p tidewire-backends --features local --example batching -- model.Q4_1.gguf`

#[cfg(not(feature = "local"))]
fn main() {}

#[cfg(feature = "local")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    measure::main()
}

#[cfg(feature = "local")]
mod measure {
    use std::error::Error;
    use std::io::{Write, stdout};
    use std::path::Path;
    use tidewire_backends::local::{Answer, Config, Engine, Event, Finish, Request, prepare};

    /// How many tasks run at once.
    const TASKS: [usize; 4] = [1, 8, 16, 32];

    /// Rounds; in each every number of tasks runs once, so that a busy spell of the machine hits all of them.
    /// Medians are shown.
    const ROUNDS: usize = 3;

    /// Tokens of every answer. The last of 32 tasks starts when the first has some 32, so enough is left during
    /// which all of them write.
    const OUTPUT_TOKENS: usize = 160;

    /// One that the model answers at length: all answers have to be cut off at the same token.
    const PROMPT: &str = "Write a very long and detailed story about a ship that sails around the whole world.";

    /// What one run gave. Rates are tokens per second over all tasks together.
    struct Figures {
        /// While all tasks wrote and none was being read.
        decode: f64,
        /// From the first request to the last token.
        whole: f64,
        /// From the request to the last task's first token, in milliseconds.
        last_start_ms: f64,
    }

    pub(super) fn main() -> Result<(), Box<dyn Error>> {
        let given = std::env::args().nth(1).ok_or("give the path of a GGUF file")?;
        let weights = prepare(Path::new(&given))?;
        let mut out = stdout().lock();
        writeln!(out, "weights: {}", weights.display())?;
        writeln!(out, "build: {}", tidewire_requantise::build_flags())?;
        writeln!(out, "{OUTPUT_TOKENS} tokens an answer, medians of {ROUNDS} rounds\n")?;
        writeln!(out, "threads  tasks  decode tok/s  ratio to 1  with prompts tok/s  last first token ms")?;
        let mut rows = Vec::new();
        for threads in [1, 2] {
            let engine = Engine::start(Config { threads, parallel: 32, ..Config::smollm2(&weights) })?;
            run(&engine, 1)?; // Pages the weights in.
            let round = |_| TASKS.iter().map(|&tasks| run(&engine, tasks)).collect::<Result<Vec<_>, _>>();
            let rounds = (0..ROUNDS).map(round).collect::<Result<Vec<_>, _>>()?;
            for (kind, tasks) in TASKS.into_iter().enumerate() {
                let decode = median(rounds.iter().map(|round| round[kind].decode));
                let ratio = median(rounds.iter().map(|round| round[kind].decode / round[0].decode));
                let whole = median(rounds.iter().map(|round| round[kind].whole));
                let last = median(rounds.iter().map(|round| round[kind].last_start_ms));
                writeln!(out, "{threads:7}  {tasks:5}  {decode:12.0}  {ratio:10.2}  {whole:18.0}  {last:19.0}")?;
                rows.push(format!(
                    r#"{{"threads":{threads},"tasks":{tasks},"decode_tokens_per_s":{decode:.1},"ratio":{ratio:.3},"whole_tokens_per_s":{whole:.1},"last_first_token_ms":{last:.0}}}"#
                ));
            }
            engine.shutdown();
        }
        let build = tidewire_requantise::build_flags();
        writeln!(out, "\n{{\"build\":{build:?},\"output_tokens\":{OUTPUT_TOKENS},\"rows\":[{}]}}", rows.join(","))?;
        Ok(())
    }

    fn median(figures: impl Iterator<Item = f64>) -> f64 {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    }

    /// One run. It reads one task's events at a time: a thread for each would take the cores from the model.
    fn run(engine: &Engine, tasks: usize) -> Result<Figures, Box<dyn Error>> {
        let body = format!(
            r#"{{"temperature":0,"max_tokens":{OUTPUT_TOKENS},"messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#
        );
        let request = Request { input: body.as_bytes(), committed: "", seed: 0 };
        let begin_us = llama_cpp_2::llama_time_us();
        let mut readers = Vec::new();
        for _ in 0..tasks {
            readers.push(Reader { answer: engine.submit(request)?, written: 0, finish: None });
        }
        for reader in &mut readers {
            while reader.written == 0 {
                reader.wait()?;
            }
        }
        let (started_us, at_start) = (llama_cpp_2::llama_time_us(), written(&mut readers)?);
        while readers[0].finish.is_none() {
            readers[0].wait()?;
        }
        let (ended_us, at_end) = (llama_cpp_2::llama_time_us(), written(&mut readers)?);
        for reader in &mut readers {
            while reader.finish.is_none() {
                reader.wait()?;
            }
            if reader.finish != Some(Finish::Length) {
                return Err(format!("an answer ended after {} tokens: give another prompt", reader.written).into());
            }
        }
        let last_us = llama_cpp_2::llama_time_us();
        Ok(Figures {
            decode: rate(at_end - at_start, ended_us - started_us)?,
            whole: rate(tasks * OUTPUT_TOKENS, last_us - begin_us)?,
            last_start_ms: f64::from(u32::try_from(started_us - begin_us)?) / 1e3,
        })
    }

    fn rate(tokens: usize, span_us: i64) -> Result<f64, Box<dyn Error>> {
        Ok(f64::from(u32::try_from(tokens)?) / f64::from(u32::try_from(span_us)?) * 1e6)
    }

    /// Tokens that all tasks have written by now.
    fn written(readers: &mut [Reader]) -> Result<usize, Box<dyn Error>> {
        for reader in readers.iter_mut() {
            while let Ok(event) = reader.answer.events.try_recv() {
                reader.take(event)?;
            }
        }
        Ok(readers.iter().map(|reader| reader.written).sum())
    }

    struct Reader {
        answer: Answer,
        written: usize,
        finish: Option<Finish>,
    }

    impl Reader {
        fn wait(&mut self) -> Result<(), Box<dyn Error>> {
            let event = self.answer.events.blocking_recv().ok_or("the engine stopped")?;
            self.take(event)
        }

        fn take(&mut self, event: Event) -> Result<(), Box<dyn Error>> {
            match event {
                Event::Began { .. } => {}
                Event::Text { output_tokens, .. } => self.written = output_tokens,
                Event::End { finish, output_tokens } => {
                    self.written = output_tokens;
                    self.finish = Some(finish);
                }
                Event::Failed(message) => return Err(message.into()),
            }
            Ok(())
        }
    }
}

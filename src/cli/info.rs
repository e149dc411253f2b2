//! `cyclegan info`

use anyhow::Result;

use super::{ExitStatus, ModelFile};
use crate::translate::channel_names;

/// Prints what a weight file is: architecture, parameters, domains, training.
#[derive(clap::Args)]
pub struct Arguments {
    /// A weight file, .safetensors, PyTorch's .pth or .onnx; FILE:NAME for one network of several.
    file: ModelFile,
    /// Print JSON for machines.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the file cannot be read or is no weight file.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let file = arguments.file.network()?;
    let info = file.info();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&info)?);
        return Ok(ExitStatus::Done);
    }
    let known = |value: &str| if value.is_empty() { "unknown".to_owned() } else { value.to_owned() };
    let number = |value: u64| if value == 0 { "unknown".to_owned() } else { value.to_string() };
    println!("architecture  {}", info.architecture);
    println!("parameters    {}", info.parameters);
    if info.channels != [0; 2] {
        let [reads, writes] = info.channels;
        let [from, to] = info.channels.map(|channels| channel_names(channels as usize));
        println!("channels      {reads} → {writes} ({from} → {to})");
    }
    println!("from → to     {} → {}", known(&info.domain_from), known(&info.domain_to));
    println!("trained at    {} pixels", number(info.size.into()));
    println!("steps         {}", number(info.step));
    println!("data          {}", known(&info.data));
    if !info.model.is_empty() {
        println!("model         {}", info.model);
    }
    if !info.started_from.is_empty() {
        println!("began with    {}", info.started_from);
    }
    println!("licence       {}", known(&info.licence));
    for note in &info.notes {
        println!("note          {note}");
    }
    Ok(ExitStatus::Done)
}

//! A session on the backend chosen. It stands in the door and not in the library, because it
//! compiles every network once for each backend.

use anyhow::{Result, bail};
use burn::backend::Autodiff;
use cyclegan::cli::{Choice, Console};
use cyclegan::protocol::BackendName;
use cyclegan::session::{End, Place, Session};
use cyclegan::translate::Budget;

/// Bytes of the program and its weights.
const PROGRAM: u64 = 128 << 20;

/// Four fifths of the memory that is free now; 4 GiB where the system does not tell.
fn free_memory() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse::<u64>().ok());
    kilobytes.map_or(4 << 30, |kilobytes| kilobytes * 1024 / 10 * 8)
}

/// Runs a session on the chosen backend until the console has no more commands.
///
/// # Errors
/// When the backend is not built in, or the device was lost.
pub fn serve(choice: Choice, console: &Console) -> Result<()> {
    // What the program itself takes is no part of a translation's.
    let total = console.memory().map_or_else(free_memory, |memory| memory.saturating_sub(PROGRAM));
    let end = match choice.name() {
        BackendName::Flex => {
            let budget = Budget { total, tensor: u64::MAX, maps: 3.0 };
            let place = Place { device: Default::default(), name: "CPU (flex)".into(), budget };
            pollster::block_on(Session::<Autodiff<burn::backend::Flex>, _>::new(console, place).run())
        }
        #[cfg(feature = "candle")]
        BackendName::Candle => {
            #[allow(deprecated, reason = "burn-candle is deprecated after 0.21, on which this project stays")]
            type Candle = burn::backend::Candle;
            let budget = Budget { total, tensor: u64::MAX, maps: 4.0 };
            let place = Place { device: Default::default(), name: "CPU (candle)".into(), budget };
            pollster::block_on(Session::<Autodiff<Candle>, _>::new(console, place).run())
        }
        #[cfg(feature = "wgpu")]
        BackendName::Wgpu => {
            let device = burn::backend::wgpu::WgpuDevice::default();
            let setup = burn::backend::wgpu::init_setup::<burn::backend::wgpu::graphics::AutoGraphicsApi>(
                &device,
                Default::default(),
            );
            let name = format!("{} ({:?})", setup.adapter.get_info().name, setup.backend);
            let budget = Budget { total, tensor: setup.device.limits().max_storage_buffer_binding_size, maps: 8.0 };
            let place = Place { device, name, budget };
            pollster::block_on(Session::<Autodiff<burn::backend::Wgpu>, _>::new(console, place).run())
        }
        #[cfg(feature = "cuda")]
        BackendName::Cuda => {
            let budget = Budget { total: u64::MAX, tensor: u64::MAX, maps: 8.0 };
            let place = Place { device: Default::default(), name: "NVIDIA GPU (CUDA)".into(), budget };
            pollster::block_on(Session::<Autodiff<burn::backend::Cuda>, _>::new(console, place).run())
        }
        #[allow(unreachable_patterns, reason = "reached when a backend's feature is off")]
        other => bail!("the backend {} is not built in; build with `--features {}`", other.as_str(), other.as_str()),
    };
    match end {
        End::Done => Ok(()),
        End::DeviceLost(reason) => bail!("the device was lost: {reason}"),
    }
}

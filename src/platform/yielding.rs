//! Letting others have a turn in the middle of long work.

/// Lets everything that waits in the event loop run (messages above all), then goes on.
/// Natively there is no loop to wait for: it returns at once.
///
/// A message to oneself rather than a timer: browsers stretch nested timers to 4 ms each.
#[cfg(target_family = "wasm")]
pub async fn yield_to_event_loop() {
    use wasm_bindgen::JsValue;
    use wasm_bindgen_futures::JsFuture;

    let turn = js_sys::Promise::new(&mut |resolve, _reject| {
        let sent = web_sys::MessageChannel::new().and_then(|channel| {
            channel.port1().set_onmessage(Some(&resolve));
            channel.port2().post_message(&JsValue::NULL)
        });
        if sent.is_err() {
            // Without a channel there is still the microtask queue.
            let _ = resolve.call0(&JsValue::NULL);
        }
    });
    // `turn` is never rejected.
    let _ = JsFuture::from(turn).await;
}

/// Lets everything that waits in the event loop run (messages above all), then goes on.
/// Natively there is no loop to wait for: it returns at once.
#[cfg(not(target_family = "wasm"))]
pub async fn yield_to_event_loop() {}

// SPDX-License-Identifier: EUPL-1.2
//! Signing what is stored: first compared with every memory that may know of more, then known to
//! them, and only then shown.

use std::sync::Arc;

use einmal_protocol::note::{Checkpoint, LedgerKey};

use crate::{
    distant::Need,
    memory::{Memory, MemoryError},
    open::{OpenError, ask_witnesses, extends},
    store::StoreError,
    witness::{Cosigned, behind},
    writer::{ATTEMPTS, Halted, Writer, pause},
};

impl Writer {
    /// Signs the tree as it is now stored, has the outside memories know before anyone else, and
    /// shows it.
    pub(crate) async fn sign_and_remember(&mut self) -> Result<Arc<Checkpoint>, Halted> {
        loop {
            self.ask_after_reconnect().await?;
            let head = &self.row.head;
            let checkpoint = Checkpoint::sign(&head.origin, head.size, head.root, &self.shared.key)
                .map_err(|error| self.halt(error))?;
            if let Some(note) = self.remember(checkpoint.note().to_owned()).await? {
                self.compare(note).await?;
                continue;
            }
            if !self.remember_afar(&checkpoint).await? {
                continue;
            }
            let mut checkpoint = Arc::new(checkpoint);
            if self.cosigner.is_required() {
                let shelf = &self.shared.shelf;
                match self.cosigner.cosign(shelf, &self.tree, &checkpoint).await {
                    Cosigned::Under(cosigned) => checkpoint = cosigned,
                    // Another broker was faster; or the database has lost what was signed.
                    Cosigned::Ahead { witness, size } => {
                        self.reach(&format!("{witness} has cosigned"), size).await?;
                        continue;
                    }
                }
            }
            self.shared.publish(&self.tree, Arc::clone(&checkpoint));
            return Ok(checkpoint);
        }
    }

    /// Catches up to a size that `who` "has cosigned" or otherwise knows to be signed.
    pub(crate) async fn reach(&mut self, who: &str, size: u64) -> Result<(), Halted> {
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            let Ok(row) = self.store.row().await else { continue };
            if row.head.size < size {
                return Err(self.halt(behind(who, size, row.head.size)));
            }
            if row.head == self.row.head || self.catch_up(row.head).await? {
                return Ok(());
            }
        }
        Err(self.halt("the ledger cannot be read as far as it was signed"))
    }

    /// A new connection may have met another server: then all memories are asked before anything
    /// is signed on its word.
    async fn ask_after_reconnect(&mut self) -> Result<(), Halted> {
        let generation = self.store.connection_generation();
        if generation == self.generation {
            return Ok(());
        }
        tracing::info!("the storage was connected to anew: comparing it with what was signed");
        let key = self.shared.ledger_key().map_err(|error| self.halt(error))?;
        let mut notes = ask_witnesses(self.cosigner.witnesses(), &key).await;
        let held = self.memory.as_mut().map(Memory::newest).transpose();
        notes.push(held.map_err(|error| self.halt(error))?.flatten());
        // Others may have appended and signed since.
        self.reach("the ledger's memory knows of", 0).await?;
        for note in notes.iter().flatten() {
            self.must_extend(note, &key).await?;
        }
        self.ask_afar().await?;
        self.generation = generation;
        Ok(())
    }

    /// Compares what another process remembered with the tree: two brokers with one memory must
    /// lie on one database.
    async fn compare(&mut self, note: String) -> Result<(), Halted> {
        let key = self.shared.ledger_key().map_err(|error| self.halt(error))?;
        let signed = Checkpoint::parse(&note, &key);
        let signed = signed.map_err(|error| self.halt(OpenError::ForeignMemory(error)))?.size();
        if signed > self.row.head.size {
            self.reach("the ledger's memory knows of", signed).await?;
        }
        self.must_extend(&note, &key).await?;
        if let Some(memory) = &mut self.memory {
            memory.compared(note);
        }
        Ok(())
    }

    /// Stops where the tree does not contain what a note says was signed.
    pub(crate) async fn must_extend(&self, note: &str, key: &LedgerKey) -> Result<(), Halted> {
        for attempt in 0.. {
            pause(attempt).await;
            match extends(note, &self.shared.shelf, &self.tree, key).await {
                Ok(()) => break,
                Err(OpenError::Store(StoreError::Unavailable(_))) if attempt < ATTEMPTS => {}
                Err(error) => return Err(self.halt(error)),
            }
        }
        Ok(())
    }

    /// Has the outside memory know a note; gives back what must be compared with the tree first.
    async fn remember(&mut self, note: String) -> Result<Option<String>, Halted> {
        let Some(mut memory) = self.memory.take() else {
            // It is gone only where this writer has halted over it.
            return match self.afar.as_ref().is_some_and(|afar| afar.distant.need == Need::Alone) {
                true => Ok(None),
                false => Err(self.halt("the ledger's memory is gone")),
            };
        };
        let written = tokio::task::spawn_blocking(move || {
            let news = memory.write(&note)?;
            Ok::<_, MemoryError>((memory, news))
        });
        match written.await {
            Ok(Ok((memory, news))) => {
                self.memory = Some(memory);
                Ok(news)
            }
            Ok(Err(error)) => Err(self.halt(error)),
            Err(error) => Err(self.halt(error)),
        }
    }
}

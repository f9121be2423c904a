// SPDX-License-Identifier: EUPL-1.2
//! The `einmal` command as a library.

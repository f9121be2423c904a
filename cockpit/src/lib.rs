// SPDX-License-Identifier: EUPL-1.2
//! The cockpit: keeper of day keys and index, and the pages citizens read.

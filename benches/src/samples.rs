//! Raw samples: every answered request by itself, as a Parquet table, for whoever trusts no histogram.

use crate::orders::Answer;
use ironbell_types::Nanos;

/// An answered request. Times are nanoseconds since the run's clock began, by one clock for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which session, from 0.
    pub session: u32,
    /// The order's number; 0 where it has none.
    pub user_ref_num: u32,
    /// What was asked for.
    pub what: Answer,
    /// Whether it was refused.
    pub is_refused: bool,
    /// When it was meant to be sent.
    pub intended: Nanos,
    /// When it was handed to the session.
    pub sent: Nanos,
    /// When the answer was taken.
    pub heard: Nanos,
}

#[cfg(feature = "parquet")]
pub use table::SamplesFile;

#[cfg(feature = "parquet")]
mod table {
    use super::{Answer, Sample};
    use parquet::basic::Compression;
    use parquet::column::writer::ColumnWriter;
    use parquet::data_type::ByteArray;
    use parquet::errors::ParquetError;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::fs::File;
    use std::path::Path;
    use std::sync::Arc;

    const SCHEMA: &str = "message samples {
        required int32 repeat (integer(32,false));
        required double rate;
        required int32 session (integer(32,false));
        required int32 user_ref_num (integer(32,false));
        required binary what (string);
        required boolean refused;
        required int64 intended_ns;
        required int64 sent_ns;
        required int64 heard_ns;
    }";
    /// Rows of a group: what readers take at a time.
    const GROUP_ROWS: usize = 128 << 10;

    /// A table of samples being written.
    pub struct SamplesFile(SerializedFileWriter<File>);

    impl SamplesFile {
        /// Makes the file, or replaces one.
        ///
        /// # Errors
        /// What the file system says.
        pub fn create(path: &Path) -> Result<Self, ParquetError> {
            let file = File::create(path).map_err(|e| ParquetError::General(e.to_string()))?;
            let schema = parse_message_type(SCHEMA)?;
            let properties = WriterProperties::builder()
                .set_compression(Compression::SNAPPY)
                .set_created_by(concat!("ironbell-load ", env!("CARGO_PKG_VERSION")).to_owned())
                .build();
            Ok(Self(SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?))
        }

        /// Adds the samples of a step.
        ///
        /// # Errors
        /// What the file system says.
        pub fn step(&mut self, repeat: u32, rate: f64, samples: &[Sample]) -> Result<(), ParquetError> {
            for rows in samples.chunks(GROUP_ROWS) {
                self.group(repeat, rate, rows)?;
            }
            Ok(())
        }

        fn group(&mut self, repeat: u32, rate: f64, rows: &[Sample]) -> Result<(), ParquetError> {
            let mut group = self.0.next_row_group()?;
            let mut place = 0;
            while let Some(mut column) = group.next_column()? {
                match column.untyped() {
                    ColumnWriter::Int32ColumnWriter(writer) => {
                        let values = rows.iter().map(|row| match place {
                            0 => repeat.cast_signed(),
                            2 => row.session.cast_signed(),
                            _ => row.user_ref_num.cast_signed(),
                        });
                        writer.write_batch(&values.collect::<Vec<_>>(), None, None)?
                    }
                    ColumnWriter::DoubleColumnWriter(writer) => {
                        writer.write_batch(&vec![rate; rows.len()], None, None)?
                    }
                    ColumnWriter::ByteArrayColumnWriter(writer) => {
                        let values = rows.iter().map(|row| {
                            ByteArray::from(match row.what {
                                Answer::Order => "order",
                                Answer::Replace => "replace",
                                Answer::Cancel => "cancel",
                                Answer::Query => unreachable!("it is no request of the flow's"),
                            })
                        });
                        writer.write_batch(&values.collect::<Vec<_>>(), None, None)?
                    }
                    ColumnWriter::BoolColumnWriter(writer) => {
                        let values: Vec<bool> = rows.iter().map(|row| row.is_refused).collect();
                        writer.write_batch(&values, None, None)?
                    }
                    ColumnWriter::Int64ColumnWriter(writer) => {
                        let values = rows.iter().map(|row| {
                            match place {
                                6 => row.intended,
                                7 => row.sent,
                                _ => row.heard,
                            }
                            .0
                            .cast_signed()
                        });
                        writer.write_batch(&values.collect::<Vec<_>>(), None, None)?
                    }
                    _ => unreachable!("the schema has no other column"),
                };
                column.close()?;
                place += 1;
            }
            group.close().map(|_| ())
        }

        /// Makes the file whole.
        ///
        /// # Errors
        /// What the file system says.
        pub fn finish(self) -> Result<(), ParquetError> {
            self.0.close().map(|_| ())
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use ironbell_types::Nanos;
        use parquet::file::reader::{FileReader as _, SerializedFileReader};
        use parquet::record::Field;

        #[test]
        fn what_was_sampled_is_read_again() {
            let sample = |n: u64, what, is_refused| Sample {
                session: n as u32,
                user_ref_num: u32::MAX - n as u32,
                what,
                is_refused,
                intended: Nanos(1_000 * n),
                sent: Nanos(1_000 * n + 10),
                heard: Nanos(1_000 * n + 500),
            };
            let samples = [
                sample(1, Answer::Order, false),
                sample(2, Answer::Cancel, false),
                sample(3, Answer::Replace, true),
            ];
            let path = std::env::temp_dir().join(format!("ironbell-samples-{}.parquet", std::process::id()));
            let mut file = SamplesFile::create(&path).unwrap();
            file.step(0, 5e3, &samples[..1]).unwrap();
            file.step(7, 6e3, &samples[1..]).unwrap();
            file.finish().unwrap();
            let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
            let rows: Vec<Vec<Field>> = reader
                .get_row_iter(None)
                .unwrap()
                .map(|row| row.unwrap().get_column_iter().map(|(_, field)| field.clone()).collect())
                .collect();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(rows.len(), 3);
            assert_eq!(
                rows[2],
                [
                    Field::UInt(7),
                    Field::Double(6e3),
                    Field::UInt(3),
                    Field::UInt(u32::MAX - 3),
                    Field::Str("replace".to_owned()),
                    Field::Bool(true),
                    Field::Long(3_000),
                    Field::Long(3_010),
                    Field::Long(3_500),
                ]
            );
            assert_eq!((&rows[0][0], &rows[0][4]), (&Field::UInt(0), &Field::Str("order".to_owned())));
        }
    }
}

//! A Parquet file written row by row, column by column underneath.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// What a column holds, as Parquet calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number without sign, of 64 bits.
    Unsigned,
    /// A number with one.
    Signed,
    /// Nanoseconds since 1970, UTC.
    Time,
    /// The double nearest to a price.
    Double,
    /// A whole number of smallest units, exact.
    Decimal,
    /// Yes or no.
    Bool,
    /// UTF-8.
    Text,
}

impl Type {
    fn physical(self, name: &str) -> String {
        match self {
            Self::Unsigned => format!("int64 {name} (integer(64,false))"),
            Self::Signed => format!("int64 {name} (integer(64,true))"),
            Self::Time => format!("int64 {name} (timestamp(nanos,true))"),
            Self::Double => format!("double {name}"),
            Self::Decimal => format!("fixed_len_byte_array(16) {name} (decimal(38,0))"),
            Self::Bool => format!("boolean {name}"),
            Self::Text => format!("binary {name} (string)"),
        }
    }
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// None; columns without a `!` may hold it.
    Null,
    /// Of [`Type::Unsigned`] and [`Type::Time`].
    Unsigned(u64),
    /// Of [`Type::Signed`].
    Signed(i64),
    /// Of [`Type::Double`].
    Double(f64),
    /// Of [`Type::Decimal`].
    Decimal(i128),
    /// Of [`Type::Bool`].
    Bool(bool),
    /// Of [`Type::Text`].
    Text(String),
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! cells {
    ($($type:ty => $cell:ident,)*) => {$(
        impl From<$type> for Cell {
            fn from(value: $type) -> Self {
                Self::$cell(value.into())
            }
        }
    )*};
}
cells! { u64 => Unsigned, u32 => Unsigned, u8 => Unsigned, i64 => Signed, f64 => Double, i128 => Decimal, bool => Bool, String => Text, &str => Text, }

/// A table's columns: name and type; a name that ends in `!` is of a column that holds no null.
pub type Columns = &'static [(&'static str, Type)];

/// Rows of a group: what readers take at a time, and what is kept in memory while it is written.
const GROUP_ROWS: usize = 128 << 10;

/// A Parquet file being written.
pub struct Table {
    columns: Columns,
    groups: SerializedFileWriter<File>,
    pending: Vec<Vec<Cell>>,
    rows: u64,
}

impl Table {
    /// Makes the file `name`.parquet in `dir`, which must not be there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(dir: &Path, name: &str, columns: Columns) -> Result<Self, ParquetError> {
        let path = dir.join(format!("{name}.parquet"));
        let file = File::create_new(&path)
            .map_err(|error| ParquetError::General(format!("cannot make {}: {error}", path.display())))?;
        let column = |(name, of): &(&str, Type)| match name.strip_suffix('!') {
            Some(name) => format!("required {};", of.physical(name)),
            None => format!("optional {};", of.physical(name)),
        };
        let columns_text: Vec<String> = columns.iter().map(column).collect();
        let schema = parse_message_type(&format!("message {name} {{ {} }}", columns_text.join(" ")))
            .expect("the schema is ours");
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("ironbell-parquet ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let groups = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        let pending = columns.iter().map(|_| Vec::new()).collect();
        Ok(Self { columns, groups, pending, rows: 0 })
    }

    /// Adds a row: a cell for each column, in order.
    ///
    /// # Errors
    /// What the file system says.
    ///
    /// # Panics
    /// When the cells are not those of the columns.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) -> Result<(), ParquetError> {
        assert!(N == self.columns.len(), "a row of {N} cells for {} columns", self.columns.len());
        for (pending, cell) in self.pending.iter_mut().zip(cells) {
            pending.push(cell);
        }
        self.rows += 1;
        if self.pending[0].len() == GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.groups.next_row_group()?;
        for (&(name, _), pending) in self.columns.iter().zip(&mut self.pending) {
            let mut column = group.next_column()?.expect("there are as many columns as the schema has");
            write_column(column.untyped(), name, pending)?;
            column.close()?;
            pending.clear();
        }
        group.close().map(|_| ())
    }

    /// Writes what is left, and makes the file whole; returns its rows.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(mut self) -> Result<u64, ParquetError> {
        if !self.pending[0].is_empty() {
            self.write_group()?;
        }
        let file = self.groups.into_inner()?;
        file.sync_all().map_err(|error| ParquetError::General(error.to_string()))?;
        Ok(self.rows)
    }
}

fn write_column(column: &mut ColumnWriter<'_>, name: &str, cells: &[Cell]) -> Result<(), ParquetError> {
    let required = name.ends_with('!');
    assert!(!required || !cells.contains(&Cell::Null), "{name} is never null");
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(*cell != Cell::Null)).collect();
    let levels = (!required).then_some(&levels[..]);
    let given = || cells.iter().filter(|cell| **cell != Cell::Null);
    macro_rules! write {
        ($writer:ident, $($pattern:pat => $value:expr),*) => {{
            let value = |cell: &Cell| match cell {
                $($pattern => $value,)*
                other => panic!("{other:?} is not what {name} holds"),
            };
            let values: Vec<_> = given().map(value).collect();
            $writer.write_batch(&values, levels, None)?
        }};
    }
    let written = match column {
        // The bits are those of the number without sign: so says the schema.
        ColumnWriter::Int64ColumnWriter(writer) => {
            write!(writer, Cell::Unsigned(value) => value.cast_signed(), Cell::Signed(value) => *value)
        }
        ColumnWriter::DoubleColumnWriter(writer) => write!(writer, Cell::Double(value) => *value),
        ColumnWriter::BoolColumnWriter(writer) => write!(writer, Cell::Bool(value) => *value),
        ColumnWriter::ByteArrayColumnWriter(writer) => {
            write!(writer, Cell::Text(value) => ByteArray::from(value.as_str()))
        }
        ColumnWriter::FixedLenByteArrayColumnWriter(writer) => {
            write!(writer, Cell::Decimal(value) => FixedLenByteArray::from(value.to_be_bytes().to_vec()))
        }
        _ => unreachable!("no type has another column"),
    };
    assert!(written == given().count(), "all of {name} is written");
    Ok(())
}

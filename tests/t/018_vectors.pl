# The published vectors through SQL: keys of the vectors' root key, put into the key table as a restore would, open the
# vectors' values and make the vectors' tokens and deterministic values.

use strict;
use warnings FATAL => 'all';

use File::Basename;
use JSON::PP;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $path    = dirname(__FILE__) . '/../vectors/format.json';
my $vectors = decode_json(slurp_file($path));

my $node = new_node('vectors', start => 0);
write_root_key($node, $vectors->{root}{key});
$node->start;
$node->safe_psql('postgres', 'create extension pg_encrypt');

sub literal
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	utf8::encode($text);
	return "'$text'";
}

for my $key ($vectors->{column_key}, $vectors->{index_key})
{
	$node->safe_psql('postgres', qq{
		insert into encrypt.keys (key_id, name, purpose, version, state, wrapped_key, check_value, root_id, rotation_period, created_by)
		values ($key->{key_id}, 'vectors', '$key->{purpose}', 1, 'active', '\\x$key->{wrapped}', '\\x$key->{check_value}',
			'$vectors->{root}{root_id}', '90 days', current_user)});
}

# Runs a batch of boolean expressions; passes if all are true, names those that are not.
sub all_true
{
	my ($test_name, @checks) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(@checks > 0, "there are vectors: $test_name");
	my $values = join ",\n", map { "($_->[1], " . literal($_->[0]) . ')' } @checks;
	is($node->safe_psql('postgres', "set client_min_messages = error; select note from (values $values) v(holds, note) where holds is not true"),
		'', $test_name);
	return;
}

# What the vector was made of, as its canonical bytes.
sub opens
{
	my ($vector) = @_;
	my ($context, $row_id) = map { literal($_) } @$vector{qw(context row_id)};
	return "encrypt.decrypt_bytes('\\x$vector->{envelope}', $context, $row_id)";
}

# A few vectors have other key ids, at the ends of the range; the stored key is bound to its own.
my @values        = grep { $_->{key_id} == $vectors->{column_key}{key_id} } @{ $vectors->{values} };
my @deterministic = grep { $_->{key_id} == $vectors->{column_key}{key_id} } @{ $vectors->{deterministic} };
my @plain         = grep { !$_->{compressed} } @values;
all_true('values open', map { [ $_->{note}, opens($_) . " = '\\x$_->{plaintext}'" ] } @plain);
my %unpacked = map { $_->{compressed} => $_ } @{ $vectors->{compressed} };
all_true('compressed values open',
	map { [ $_->{note}, 'sha256(' . opens($_) . ") = '\\x$unpacked{ $_->{plaintext} }{plaintext_sha256}'" ] }
	grep { $_->{compressed} } @values);
all_true('deterministic values open', map { [ $_->{note}, opens($_) . " = '\\x$_->{plaintext}'" ] } @deterministic);
all_true('deterministic values are made',
	map {
		my $value = "'\\x$_->{plaintext}'::bytea";
		$value = "convert_from($value, 'UTF8')" if $_->{type} eq 'text';
		[ $_->{note}, "encrypt.encrypt_deterministic($value, 'vectors', " . literal($_->{context}) . ', ' . literal($_->{row_id})
			  . ") operator(encrypt.*=) '\\x$_->{envelope}'" ]
	} grep { $_->{type} =~ /^(text|bytea)$/ } @deterministic);
# The first version only: the key in the table has one.
all_true('tokens are made',
	map {
		[ "$_->{normalizer} $_->{value}", 'encrypt.blind_index(' . literal($_->{value}) . ", 'vectors', " . literal($_->{context})
			  . ", '$_->{normalizer}', $_->{bits}) = '\\x$_->{token}'" ]
	} grep { $_->{kind} eq 'equality' && $_->{version} == 1 } @{ $vectors->{tokens} });

# Values of an encrypted type: one that comes with the extension gets the vectors' number and UUID, as a restore would
# bring them. They open, and SQL makes the same tokens.
my @typed = grep { $_->{type} eq 'text' && $_->{type_ref} == 42 && ($_->{normalizer} // '') eq 'exact' } @{ $vectors->{typed_values} };
$node->safe_psql('postgres', qq{
	insert into encrypt.types (type_ref, uuid, type_oid, base, key_name, normalizer, index_key_id, created_by)
	values (42, '$typed[0]{uuid}', 'encrypt.searchable_text', 'text', 'vectors', 'exact', $vectors->{index_key}{key_id}, current_user)});
all_true('values of an encrypted type open',
	map { [ $_->{note}, "'\\x$_->{value}'::encrypt.searchable_text::text = convert_from('\\x$_->{plaintext}', 'UTF8')" ] } @typed);
all_true('values of an encrypted type carry the tokens that SQL makes',
	map {
		my $plain = "convert_from('\\x$_->{plaintext}', 'UTF8')";
		[ $_->{note}, "encrypt.token(${plain}::encrypt.searchable_text) = '\\x$_->{token}'"
			  . " and encrypt.token('\\x$_->{value}'::encrypt.searchable_text) = '\\x$_->{token}'" ]
	} @typed);

# One altered byte of a stored key, and it is refused by its id before anything is opened with it.
$node->safe_psql('postgres', q{
	alter table encrypt.keys disable trigger guard_row;
	update encrypt.keys set wrapped_key = set_byte(wrapped_key, 40, 255 - get_byte(wrapped_key, 40));
	alter table encrypt.keys enable always trigger guard_row});
my $said = fails_with($node, 'select ' . opens($plain[0]), 'XX001', 'an altered key is refused');
like($said, qr/key with id 7 /, 'and named by its id');

# Bytes that were text in a database of another encoding are no text here: refused, and readable as bytes.
$node->safe_psql('postgres', q{create database latin encoding 'LATIN1' locale 'C' template template0});
$node->safe_psql('postgres', 'drop extension pg_encrypt cascade; create extension pg_encrypt; set client_min_messages = error;'
	  . q{select encrypt.create_key('shared')});
$node->safe_psql('latin', 'create extension pg_encrypt');
my $keys = $node->safe_psql('postgres', 'copy encrypt.keys to stdout');
$node->safe_psql('latin', "copy encrypt.keys from stdin;\n$keys\n\\.\n");
my $value = $node->safe_psql('latin', q{select encrypt.encrypt_column('caf' || chr(233), 'shared')});
is($node->safe_psql('latin', "select encrypt.decrypt_column('$value') = 'caf' || chr(233)"), 't', 'text of LATIN1 opens there');
fails_with($node, "select encrypt.decrypt_column('$value')", '22021', 'text of LATIN1 is no text in UTF-8');
is($node->safe_psql('postgres', "select encrypt.decrypt_bytes('$value')"), '\x636166e9', 'its bytes can be read');
is( $node->safe_psql('latin', q{select encrypt.blind_index('caf' || chr(233), 'shared')}),
	$node->safe_psql('postgres', q{select encrypt.blind_index('caf' || chr(233), 'shared')}),
	'tokens are the same in both encodings');

# A value whose ciphertext would exceed 1 GB is refused as such, and the session goes on.
my ($sqlstate) = sql_error($node, q{select length(encrypt.encrypt_column(repeat('x', 1073741790), 'shared')::bytea)});
is($sqlstate, '54000', 'too large a value is refused');

$node->stop;
done_testing();
